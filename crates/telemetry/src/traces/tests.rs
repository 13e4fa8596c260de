//! What a trace's id says, and what is a parent.

use super::*;

const NUMBER: u128 = 0x0193_6f2e_7b1a_7c3d_8e4f_0a1b_2c3d_4e5f;

#[test]
fn the_number_of_an_attempt_is_the_id_of_its_trace() {
    let trace = Trace::new(NUMBER);
    assert_eq!(trace.traceparent(), "00-01936f2e7b1a7c3d8e4f0a1b2c3d4e5f-8e4f0a1b2c3d4e5f-01");
}

#[test]
fn every_span_belongs_to_the_root_whoever_ends_it() {
    let trace = Trace::new(NUMBER);
    let now = SystemTime::UNIX_EPOCH;
    let (root, far) = (trace.root("attempt", now), Trace::new(NUMBER).span("deliver", now));
    assert_eq!(root.data.parent_span_id, SpanId::INVALID);
    assert_eq!(far.data.parent_span_id, root.data.span_context.span_id());
    assert_eq!(far.data.span_context.trace_id(), root.data.span_context.trace_id());
    let step = far.child("udp-hole-punch", now);
    assert_eq!(step.data.parent_span_id, far.data.span_context.span_id());
    assert_ne!(step.data.span_context.span_id(), far.data.span_context.span_id());
}

#[test]
fn without_a_collector_nothing_is_traced() {
    assert_eq!(Trace::of(NUMBER), None);
}

#[test]
fn a_span_links_to_what_caused_it_if_that_is_a_trace_parent() {
    let span = |parent: &str| {
        Trace::new(NUMBER).root("attempt", SystemTime::UNIX_EPOCH).caused_by(parent).data.links
    };
    let good = span("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_eq!(good.links[0].span_context.span_id().to_string(), "b7ad6b7169203331");
    for bad in [
        "",
        "00",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
    ] {
        assert!(span(bad).links.is_empty(), "{bad:?}");
    }
    let later = span("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more");
    assert_eq!(later.links.len(), 1);
}
