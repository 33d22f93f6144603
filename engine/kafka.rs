//! What the Kafka source and sink share: options to client settings, errors of the client, and the redaction of secrets.
//!
//! Comes in: option maps with keys as the user wrote them. Goes out: librdkafka configurations, and errors that name the
//! option or the broker's reason and never a secret. Fails: options that are unknown, denied, or refused by librdkafka.

mod java;

use crate::error::{Error, ErrorCode, Result};
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long `open` waits for a broker's first answer.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a later metadata or offset request may take: long enough for a leader to move.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Options of the reader and the writer themselves, which every source and sink sees and leaves alone.
const GENERIC: [&str; 6] =
    ["checkpointlocation", "outputmode", "queryname", "trigger", "watermark.column", "watermark.delay"];

/// The options of one source or sink, found without regard to case; what has been understood is taken out.
pub(crate) struct Options {
    /// Lower-case name to the name as written and the value.
    left: BTreeMap<String, (String, String)>,
    owner: &'static str,
}

impl Options {
    /// The options of `owner` ("Kafka source").
    pub(crate) fn new(owner: &'static str, options: &BTreeMap<String, String>) -> Result<Self> {
        let mut left: BTreeMap<String, (String, String)> = BTreeMap::new();
        for (name, value) in options {
            let entry = (name.clone(), value.clone());
            if let Some((other, _)) = left.insert(name.to_ascii_lowercase(), entry) {
                return Err(invalid(format!("{owner}: option {other} is given twice, as {other} and as {name}")));
            }
        }
        Ok(Self { left, owner })
    }

    /// Takes the value of an option.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        self.left.remove(&name.to_ascii_lowercase()).map(|(_, value)| value)
    }

    /// Takes an option that is true or false.
    pub(crate) fn take_bool(&mut self, name: &str, default: bool) -> Result<bool> {
        match self.take(name) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(self.bad(name, &text, "true or false")),
        }
    }

    /// Takes an option that is a whole number of at least `least`.
    pub(crate) fn take_number(&mut self, name: &str, least: u64) -> Result<Option<u64>> {
        let Some(text) = self.take(name) else { return Ok(None) };
        match text.trim().parse::<u64>() {
            Ok(number) if number >= least && number <= i64::MAX as u64 => Ok(Some(number)),
            _ => Err(self.bad(name, &text, &format!("a whole number of at least {least}"))),
        }
    }

    /// An error about an option's value.
    pub(crate) fn bad(&self, name: &str, value: &str, wanted: &str) -> Error {
        invalid(format!("{}: option {name} must be {wanted}, not '{value}'", self.owner))
    }

    /// Takes an option whose value `parse` understands; `wanted` says what it should have been.
    pub(crate) fn take_parsed<T>(
        &mut self,
        name: &str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(text) = self.take(name) else { return Ok(None) };
        parse(text.trim()).map(Some).ok_or_else(|| self.bad(name, &text, wanted))
    }

    /// Takes every `kafka.` option as a client property, Java's names included; `denied` names properties that this side
    /// sets itself, with the reason.
    pub(crate) fn take_client(&mut self, denied: &[(&str, &str)]) -> Result<ClientSettings> {
        let names: Vec<String> = self.left.keys().filter(|name| name.starts_with("kafka.")).cloned().collect();
        let mut properties = BTreeMap::new();
        for name in names {
            let Some((written, value)) = self.left.remove(&name) else { continue };
            let property = name.trim_start_matches("kafka.").to_owned();
            let own = denied.iter().find(|(denied, _)| *denied == property).map(|(_, reason)| *reason);
            if let Some(reason) = own.or_else(|| java::denied(&property)) {
                return Err(invalid(format!("{}: option {written} is not supported: {reason}", self.owner)));
            }
            properties.insert(property, value);
        }
        if properties.get("bootstrap.servers").is_none_or(|servers| servers.trim().is_empty()) {
            return Err(invalid(format!(
                "{}: option kafka.bootstrap.servers is required, as host:port,...",
                self.owner
            )));
        }
        java::translate(self.owner, &mut properties)?;
        Ok(ClientSettings { properties, owner: self.owner })
    }

    /// Refuses whatever nobody took.
    pub(crate) fn finish(self, known: &str) -> Result<()> {
        for (name, (written, _)) in &self.left {
            if GENERIC.contains(&name.as_str()) {
                continue;
            }
            return Err(invalid(format!(
                "{}: option {written} is unknown; options are {known}, and kafka.*",
                self.owner
            )));
        }
        Ok(())
    }
}

/// An invalid option.
pub(crate) fn invalid(message: String) -> Error {
    Error::new(ErrorCode::InvalidOption, message)
}

/// Client properties as the user gave them, without the `kafka.` prefix. `Debug` shows no secrets.
#[derive(Clone)]
pub(crate) struct ClientSettings {
    properties: BTreeMap<String, String>,
    owner: &'static str,
}

impl fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.properties.iter().map(|(name, value)| (name, if is_secret(name) { "***" } else { value }));
        f.debug_map().entries(shown).finish()
    }
}

fn is_secret(property: &str) -> bool {
    ["password", "secret", "jaas", "token", "oauthbearer.config", "ssl.key", ".pem"]
        .iter()
        .any(|part| property.contains(part))
}

impl ClientSettings {
    /// The brokers' addresses, for messages.
    pub(crate) fn servers(&self) -> &str {
        self.properties.get("bootstrap.servers").map_or("", String::as_str)
    }

    /// A property given by the user.
    pub(crate) fn get(&self, property: &str) -> Option<&str> {
        self.properties.get(property).map(String::as_str)
    }

    /// Takes a property out of what is passed to the client.
    pub(crate) fn take(&mut self, property: &str) -> Option<String> {
        self.properties.remove(property)
    }

    /// Makes a client: `defaults`, over them the user's properties, over them `fixed`.
    pub(crate) fn create<T>(&self, defaults: &[(&str, &str)], fixed: &[(&str, &str)], log: &ClientLog) -> Result<T>
    where
        T: FromClientConfigAndContext<ClientLog>,
    {
        let mut config = ClientConfig::new();
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            config.set(name.as_str(), value.as_str());
        }
        for (name, value) in fixed {
            config.set(*name, *value);
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        config.create_with_context(log.clone()).map_err(|error| match &error {
            KafkaError::ClientConfig(_, reason, name, _) => {
                invalid(format!("{}: option kafka.{name}: {}", self.owner, log.redact(reason)))
            }
            other => invalid(format!("{}: {}", self.owner, log.redact(&other.to_string()))),
        })
    }

    /// A fresh log for clients of these settings.
    pub(crate) fn log(&self) -> ClientLog {
        let secrets = self.properties.iter().filter(|(name, value)| is_secret(name) && !value.is_empty());
        ClientLog(Arc::new(LogState {
            secrets: secrets.map(|(_, value)| value.clone()).collect(),
            last: Mutex::new(None),
            undelivered: Mutex::new(None),
        }))
    }
}

/// The context of every client: forwards the client's log to `tracing`, remembers its last complaint so that a time-out
/// can say why, and removes secrets from both.
#[derive(Clone)]
pub(crate) struct ClientLog(Arc<LogState>);

struct LogState {
    secrets: Vec<String>,
    last: Mutex<Option<String>>,
    /// Why the first record that could not be delivered was refused.
    undelivered: Mutex<Option<RDKafkaErrorCode>>,
}

impl ClientLog {
    /// The text with every secret value replaced.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.0.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }

    /// Remembers a complaint.
    fn remember(&self, text: String) {
        *self.0.last.lock() = Some(text);
    }

    /// Why the first undelivered record since the last call was refused.
    pub(crate) fn take_undelivered(&self) -> Option<RDKafkaErrorCode> {
        self.0.undelivered.lock().take()
    }

    /// An error of the client: what was attempted, the client's reason, and its last complaint.
    pub(crate) fn error(&self, what: impl fmt::Display, error: &KafkaError) -> Error {
        let code = match error.rdkafka_error_code() {
            Some(code) => match is_fencing(code) {
                true => ErrorCode::KafkaFenced,
                false => ErrorCode::Kafka,
            },
            None => ErrorCode::Kafka,
        };
        let last = self.0.last.lock().clone();
        let last = last.map(|text| format!(" ({text})")).unwrap_or_default();
        Error::new(code, format!("{what}: {}{last}", self.redact(&error.to_string())))
    }
}

/// Whether a code says that another producer took over the transactional id (or that the brokers timed the
/// transaction out, which looks the same).
pub(crate) fn is_fencing(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch)
}

impl ClientContext for ClientLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let text = self.redact(text);
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "tidemill::kafka", facility, "{text}");
                self.remember(text);
            }
            _ => tracing::debug!(target: "tidemill::kafka", facility, "{text}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The source asks to be told of a partition's end; that is no complaint.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        let text = self.redact(reason);
        tracing::warn!(target: "tidemill::kafka", "{error}: {text}");
        self.remember(text);
    }
}

impl ConsumerContext for ClientLog {}

impl ProducerContext for ClientLog {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        let Err((error, _)) = result else { return };
        // Purged records follow from the failure that ended the transaction; the first one says what it was.
        if let Some(code) = error.rdkafka_error_code() {
            self.0.undelivered.lock().get_or_insert(code);
        }
    }
}

/// A consumer with the shared context.
pub(crate) type LogConsumer = BaseConsumer<ClientLog>;

/// The number of partitions of a topic, or None when it does not exist.
pub(crate) fn partition_count(
    consumer: &LogConsumer,
    topic: &str,
    servers: &str,
    timeout: Duration,
) -> Result<Option<i32>> {
    // Whoever asks nothing but metadata has no other occasion to empty the queue of events.
    serve_events(consumer);
    let log = consumer.context();
    let metadata = consumer.fetch_metadata(Some(topic), timeout).map_err(|error| {
        serve_events(consumer);
        log.error(
            format_args!(
                "cannot read the metadata of topic {topic} from {servers}; check kafka.bootstrap.servers, the network \
                 and the security options"
            ),
            &error,
        )
    })?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    if let Some(error) = found.error() {
        return match RDKafkaErrorCode::from(error) {
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => Ok(None),
            code => Err(log.error(format_args!("topic {topic} on {servers}"), &KafkaError::MetadataFetch(code))),
        };
    }
    Ok(i32::try_from(found.partitions().len()).ok().filter(|count| *count > 0))
}

/// Topics that the brokers keep for themselves.
const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__share_group_state", "__transaction_state"];

/// Every topic whose name fits, with its number of partitions, ascending; none of the brokers' own.
pub(crate) fn topics_that(
    consumer: &LogConsumer,
    servers: &str,
    timeout: Duration,
    fits: impl Fn(&str) -> bool,
) -> Result<Vec<(String, i32)>> {
    serve_events(consumer);
    let log = consumer.context();
    let metadata = consumer.fetch_metadata(None, timeout).map_err(|error| {
        serve_events(consumer);
        log.error(
            format_args!(
                "cannot read the list of topics from {servers}; check kafka.bootstrap.servers, the network and the \
                 security options"
            ),
            &error,
        )
    })?;
    let mut found = Vec::new();
    for topic in metadata.topics().iter().filter(|topic| !INTERNAL_TOPICS.contains(&topic.name()) && fits(topic.name()))
    {
        match topic.error().map(RDKafkaErrorCode::from) {
            None => found.push((topic.name().to_owned(), i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX))),
            // Deleted a moment ago.
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {}
            Some(code) => {
                let place = format!("topic {} on {servers}", topic.name());
                return Err(log.error(place, &KafkaError::MetadataFetch(code)));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Serves what waits in a consumer's main queue (log lines, connection errors), so that errors can name it. Returns the
/// last error that no retry can heal.
pub(crate) fn serve_events(consumer: &LogConsumer) -> Option<KafkaError> {
    let mut fatal = None;
    // Bounded, because a dead broker can refill the queue as fast as it is emptied.
    for _ in 0..64 {
        match consumer.poll(Duration::ZERO) {
            Some(Err(error)) => {
                let lasting = matches!(error, KafkaError::MessageConsumptionFatal(_))
                    || matches!(
                        error.rdkafka_error_code(),
                        Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed)
                    );
                if lasting {
                    fatal = Some(error);
                }
            }
            Some(Ok(_)) => {}
            None => break,
        }
    }
    fatal
}

/// Runs a client call that may wait for brokers on a thread of its own, which nobody waits for once the caller has given up:
/// neither a stopped query nor the end of the process.
pub(crate) async fn detached<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    let (answer, wait) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("kafka-call".into())
        .spawn(move || {
            // Nobody listens any more when the query was stopped.
            let _ = answer.send(work());
        })
        .map_err(|error| Error::caused_by(ErrorCode::Io, format!("cannot start a thread: {error}"), error))?;
    match wait.await {
        Ok(result) => result,
        Err(_) => Err(Error::internal("a Kafka client call did not finish")),
    }
}

/// Runs a blocking client call off the async threads.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal(format!("a Kafka client call did not finish: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<ClientSettings> {
        let map = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Options::new("Kafka source", &map)?.take_client(&[("group.id", "no groups")])
    }

    #[test]
    fn secrets_are_in_no_text() {
        let settings = settings(&[("Kafka.Bootstrap.Servers", "h:1"), ("kafka.sasl.password", "hunter2")]).unwrap();
        assert_eq!(format!("{settings:?}"), r#"{"bootstrap.servers": "h:1", "sasl.password": "***"}"#);
        let error = KafkaError::ClientCreation("no such user:hunter2".into());
        assert_eq!(
            settings.log().error("open", &error).to_string(),
            "[KAFKA] open: Client creation error: no such user:***"
        );
    }

    #[test]
    fn denied_and_missing_properties_are_named() {
        let text = |pairs: &[(&str, &str)]| settings(pairs).unwrap_err().to_string();
        assert_eq!(
            text(&[("kafka.bootstrap.servers", "h:1"), ("kafka.Plugin.Library.Paths", "/x.so")]),
            "[INVALID_OPTION] Kafka source: option kafka.Plugin.Library.Paths is not supported: it loads native code \
             into this process"
        );
        assert_eq!(
            text(&[("kafka.bootstrap.servers", "h:1"), ("kafka.group.id", "g")]),
            "[INVALID_OPTION] Kafka source: option kafka.group.id is not supported: no groups"
        );
        assert_eq!(
            text(&[]),
            "[INVALID_OPTION] Kafka source: option kafka.bootstrap.servers is required, as host:port,..."
        );
    }

    #[test]
    fn a_property_that_the_client_does_not_know_is_an_invalid_option_without_its_value() {
        let settings = settings(&[("kafka.bootstrap.servers", "h:1"), ("kafka.ssl.key.typo", "hunter2")]).unwrap();
        let error = settings.create::<LogConsumer>(&[("group.id", "g")], &[], &settings.log()).err().unwrap();
        assert_eq!(
            error.to_string(),
            "[INVALID_OPTION] Kafka source: option kafka.ssl.key.typo: No such configuration property: \"ssl.key.typo\""
        );
    }
}
