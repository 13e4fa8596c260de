//! What stands in for an OpenTelemetry collector: it takes spans over OTLP/HTTP and keeps them.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::instance::HANG;

/// A span, and the process that it is of.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) instance: String,
    pub(crate) span: Span,
}

impl Seen {
    /// An attribute of the span.
    pub(crate) fn attribute(&self, key: &str) -> String {
        text(&self.span.attributes, key)
    }
}

pub(crate) struct Collector {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    spans: Mutex<Vec<Seen>>,
    more: Notify,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared::default());
        let taking = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, taking.clone()));
            }
        });
        Self { address, shared }
    }

    /// What a process is started with so that it exports to this collector.
    pub(crate) fn environment(&self) -> (&'static str, String) {
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", self.address))
    }

    /// Waits until what has come is enough.
    pub(crate) async fn until(&self, enough: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let waiting = async {
            loop {
                let more = self.shared.more.notified();
                let spans = self.shared.spans.lock().unwrap().clone();
                if enough(&spans) {
                    return spans;
                }
                more.await;
            }
        };
        match timeout(HANG, waiting).await {
            Ok(spans) => spans,
            Err(_) => panic!("not enough: {:#?}", self.shared.spans.lock().unwrap()),
        }
    }
}

/// One request on one connection, answered as a collector does.
async fn take(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..at].to_vec()).unwrap().to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            break (at + 4, length.expect("a length").trim().parse::<usize>().unwrap());
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "half a request");
    };
    assert!(bytes.starts_with(b"POST /v1/traces HTTP/1.1\r\n"));
    while bytes.len() < head + length {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "half a body");
    }
    let request = ExportTraceServiceRequest::decode(&bytes[head..]).unwrap();
    for resource_spans in request.resource_spans {
        let resource = resource_spans.resource.expect("who it is of");
        assert_eq!(text(&resource.attributes, "service.name"), "p2p-signaling");
        let instance = text(&resource.attributes, "service.instance.id");
        let spans = resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
        let seen = spans.map(|span| Seen { instance: instance.clone(), span });
        shared.spans.lock().unwrap().extend(seen);
    }
    shared.more.notify_one();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone());
    match value {
        Some(AnyValue { value: Some(any_value::Value::StringValue(text)) }) => text,
        other => panic!("{key} is {other:?} in {attributes:?}"),
    }
}
