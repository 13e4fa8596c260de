//! `GET /openapi.json`: what every route takes and answers (OpenAPI 3.1), made from the types that
//! the routes read and write.

use axum::response::{IntoResponse as _, Response};
use http::header;
use p2p_auth::Scope;
use p2p_wire::Problem;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// What a route is for, takes and answers.
#[derive(Clone)]
pub(super) struct Operation {
    path: &'static str,
    method: &'static str,
    summary: &'static str,
    token: Token,
    query: Option<SchemaOf>,
    status: &'static str,
    answer: Answer,
}

type SchemaOf = fn(&mut SchemaGenerator) -> Value;

#[derive(Clone, Copy)]
enum Token {
    None,
    Any,
    With(Scope),
}

#[derive(Clone, Copy)]
enum Answer {
    Json(SchemaOf),
    Text(&'static str),
    WebSocket,
}

impl Operation {
    /// A GET that answers with JSON to any token.
    pub(super) fn get<T: JsonSchema>(path: &'static str, summary: &'static str) -> Self {
        let answer = Answer::Json(|schemas| schemas.subschema_for::<T>().to_value());
        Self { path, method: "get", summary, token: Token::Any, query: None, status: "200", answer }
    }

    /// A GET that answers with text to anybody.
    pub(super) fn text(path: &'static str, media: &'static str, summary: &'static str) -> Self {
        let answer = Answer::Text(media);
        Self {
            path,
            method: "get",
            summary,
            token: Token::None,
            query: None,
            status: "200",
            answer,
        }
    }

    /// The upgrade to a WebSocket.
    pub(super) fn websocket(path: &'static str, summary: &'static str) -> Self {
        let answer = Answer::WebSocket;
        Self { path, method: "get", summary, token: Token::Any, query: None, status: "101", answer }
    }

    /// The same as a POST that makes something.
    pub(super) fn post(self) -> Self {
        Self { method: "post", status: "201", ..self }
    }

    /// For tokens with this scope alone.
    pub(super) fn scope(self, scope: Scope) -> Self {
        Self { token: Token::With(scope), ..self }
    }

    /// For anybody.
    pub(super) fn open(self) -> Self {
        Self { token: Token::None, ..self }
    }

    /// With the fields of this type as arguments in the query.
    pub(super) fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(|schemas| T::json_schema(schemas).to_value()), ..self }
    }

    /// The path, as the router takes it.
    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    fn describe(&self, schemas: &mut SchemaGenerator) -> Value {
        let mut answer = json!({ "description": "Done" });
        match self.answer {
            Answer::Json(schema) => {
                answer["content"] = json!({ "application/json": { "schema": schema(schemas) } });
            }
            Answer::Text(media) => {
                answer["content"] = json!({ media: { "schema": { "type": "string" } } });
            }
            Answer::WebSocket => {
                answer["description"] = "A WebSocket".into();
            }
        }
        let problem = schemas.subschema_for::<Problem>();
        let refused = json!({
            "description": "Refused, with a code, a cause and a fix",
            "content": { "application/problem+json": { "schema": problem } },
        });
        let mut operation = json!({
            "summary": self.summary,
            "responses": { self.status: answer, "default": refused },
        });
        if let Token::With(scope) = self.token {
            operation["description"] = format!("For tokens with the scope `{scope}`.").into();
        }
        if !matches!(self.token, Token::None) {
            operation["security"] = json!([{ "token": [] }]);
        }
        let parameters = self.parameters(schemas);
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        operation
    }

    fn parameters(&self, schemas: &mut SchemaGenerator) -> Vec<Value> {
        let in_path = self.path.split('/').filter_map(|part| {
            let name = part.strip_prefix('{')?.strip_suffix('}')?;
            let schema = json!({ "type": "string" });
            Some(json!({ "name": name, "in": "path", "required": true, "schema": schema }))
        });
        let fields = self.query.map(|schema| schema(schemas));
        let fields = fields.as_ref().and_then(|schema| schema["properties"].as_object());
        let in_query = fields.into_iter().flatten();
        let in_query =
            in_query.map(|(name, schema)| json!({ "name": name, "in": "query", "schema": schema }));
        in_path.chain(in_query).collect()
    }
}

/// The document for these routes.
pub(super) fn document(operations: &[Operation]) -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .for_serialize();
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    for operation in operations {
        let methods = paths.entry(operation.path).or_insert_with(|| json!({}));
        methods[operation.method] = operation.describe(&mut schemas);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "P2P Coordinator",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Who is there, how to reach them, and what became of it",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
            },
        },
    })
}

/// The document as an answer.
pub(super) fn answer(document: &str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.to_owned()).into_response()
}
