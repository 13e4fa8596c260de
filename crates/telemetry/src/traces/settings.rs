//! What the environment says about traces, in the words of the OpenTelemetry specification
//! ("Environment Variable Specification").

/// The environment asks for what is not there.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A sampler of another kind.
    #[error(
        "OTEL_TRACES_SAMPLER={0:?} is not offered; use always_on, always_off, traceidratio or one \
         of them behind parentbased_"
    )]
    Sampler(String),
    /// A ratio that is none.
    #[error("OTEL_TRACES_SAMPLER_ARG={0:?} is no ratio; use a number from 0 to 1, such as 0.1")]
    Ratio(String),
    /// The exporter cannot be set up: an endpoint that is no URL, a header that is none.
    #[error(
        "spans cannot be exported: {0}; check OTEL_EXPORTER_OTLP_ENDPOINT, such as \
         http://127.0.0.1:4318, and the other OTEL_EXPORTER_OTLP_… variables"
    )]
    Exporter(String),
    /// Another protocol.
    #[error(
        "OTEL_EXPORTER_OTLP_PROTOCOL={0:?} is not offered; use http/protobuf and the collector's \
         port for it, by custom 4318"
    )]
    Protocol(String),
}

/// How many traces are exported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampling(f64);

impl Sampling {
    /// As other tracers decide for the same id and ratio, whether a trace is among the sampled
    /// ones: by the 63 lowest bits of the id.
    pub(super) fn takes(self, number: u128) -> bool {
        const LOW: u128 = (1 << 63) - 1;
        // 2^63 is exact as a float; the lowest bits of the id do not matter for a ratio.
        ((number & LOW) as f64) < self.0 * 9_223_372_036_854_775_808.0
    }
}

/// What is read from the environment here; the exporter reads the rest itself.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) sampling: Sampling,
}

impl Settings {
    pub(super) fn from_environment() -> Result<Option<Self>, TraceError> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, TraceError> {
        // An empty variable is one that is not set.
        let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
        let disabled =
            variable("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true"));
        let none = variable("OTEL_TRACES_EXPORTER").is_some_and(|it| it == "none");
        let endpoint = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]
            .into_iter()
            .any(|name| variable(name).is_some());
        if disabled || none || !endpoint {
            return Ok(None);
        }
        let protocol = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
        match protocol.into_iter().find_map(variable) {
            Some(other) if other != "http/protobuf" => return Err(TraceError::Protocol(other)),
            Some(_) | None => {}
        }
        let sampler = variable("OTEL_TRACES_SAMPLER").unwrap_or_else(|| "always_on".to_owned());
        // An attempt has no parent here, so a sampler that asks the parent asks its root.
        let ratio = match sampler.strip_prefix("parentbased_").unwrap_or(&sampler) {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => match variable("OTEL_TRACES_SAMPLER_ARG") {
                None => 1.0,
                Some(text) => match text.trim().parse() {
                    Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
                    Ok(_) | Err(_) => return Err(TraceError::Ratio(text)),
                },
            },
            _ => return Err(TraceError::Sampler(sampler)),
        };
        Ok(Some(Self { sampling: Sampling(ratio) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    fn read(set: &[(&str, &str)]) -> Result<Option<Settings>, TraceError> {
        let find = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        Settings::read(|name| find(name).map(str::to_owned))
    }

    fn ratio(more: &[(&str, &str)]) -> f64 {
        read(&[&[ENDPOINT], more].concat()).unwrap().unwrap().sampling.0
    }

    #[test]
    fn without_an_endpoint_or_where_it_is_disabled_nothing_is_exported() {
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).unwrap(), None);
        assert_eq!(read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "true")]).unwrap(), None);
        assert_eq!(read(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]).unwrap(), None);
    }

    #[test]
    fn all_traces_are_exported_unless_a_sampler_says_otherwise() {
        assert!((ratio(&[]) - 1.0).abs() < f64::EPSILON);
        assert!(ratio(&[("OTEL_TRACES_SAMPLER", "always_off")]).abs() < f64::EPSILON);
        let quarter = [
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ];
        assert!((ratio(&quarter) - 0.25).abs() < f64::EPSILON);
    }

    #[test]
    fn what_is_not_offered_is_an_error_that_says_what_is() {
        for (name, value, offered) in [
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "traceidratio"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ] {
            let error = read(&[ENDPOINT, (name, value)]).unwrap_err().to_string();
            assert!(error.contains(value) && error.contains(offered), "{error}");
        }
        let much = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "7")];
        let error = read(&[&[ENDPOINT], &much[..]].concat()).unwrap_err().to_string();
        assert!(error.contains("0 to 1"), "{error}");
    }

    #[test]
    fn a_ratio_takes_its_part_of_all_ids_and_the_same_everywhere() {
        let takes = |ratio: f64| {
            let spread = (0..1000_u128).map(|n| n << 53 | 0xabc << 100);
            spread.filter(|number| Sampling(ratio).takes(*number)).count()
        };
        assert_eq!((takes(0.0), takes(0.25), takes(1.0)), (0, 256, 1000));
    }
}
