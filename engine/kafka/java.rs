//! Client properties as users of Java clients write them, in librdkafka's words.
//!
//! Comes in: properties without the `kafka.` prefix, among them Java's names for TLS, SASL and buffers. Goes out: the same
//! settings under librdkafka's names. Fails: what only a JVM can do (classes, JKS stores, Kerberos and OAuth modules), by name,
//! with the way out. Touches no file.

use super::invalid;
use crate::error::{Error, Result};
use std::collections::BTreeMap;

type Properties = BTreeMap<String, String>;

/// Java's name, librdkafka's name.
const RENAMED: &[(&str, &str)] = &[
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("max.request.size", "message.max.bytes"),
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem"),
    ("ssl.keystore.key", "ssl.key.pem"),
    ("ssl.truststore.certificates", "ssl.ca.pem"),
];

/// Settings of the Java client's inside that have nothing to act on here: accepted, and said in the log.
const WITHOUT_EFFECT: &[&str] = &[
    "auto.include.jmx.reporter",
    "default.api.timeout.ms",
    "exclude.internal.topics",
    "max.block.ms",
    "max.poll.records",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "partition.assignment.strategy",
];

const JAVA_CLASS: &str = "it names a Java class, which this client cannot run";
const JAVA_TLS: &str =
    "it configures Java's TLS; OpenSSL negotiates the newest protocol that both sides speak, so leave it out";

/// Properties that neither side lets through, with the reason and the way out.
const DENIED: &[(&str, &str)] = &[
    ("config.providers", JAVA_CLASS),
    ("interceptor.classes", "interceptors are Java classes, which this client cannot run"),
    ("key.deserializer", "keys are read as bytes; cast the key column instead"),
    ("key.serializer", "keys are written as bytes; cast the key column instead"),
    ("metric.reporters", JAVA_CLASS),
    (
        "partitioner.class",
        "records go to partitions as by Java's default, murmur2; choose another with kafka.partitioner",
    ),
    ("plugin.library.paths", "it loads native code into this process"),
    ("sasl.client.callback.handler.class", JAVA_CLASS),
    ("sasl.login.callback.handler.class", JAVA_CLASS),
    ("sasl.login.class", JAVA_CLASS),
    ("security.providers", JAVA_CLASS),
    ("ssl.enabled.protocols", JAVA_TLS),
    ("ssl.engine.factory.class", JAVA_CLASS),
    ("ssl.keymanager.algorithm", JAVA_TLS),
    ("ssl.protocol", JAVA_TLS),
    ("ssl.provider", JAVA_TLS),
    ("ssl.secure.random.implementation", JAVA_TLS),
    ("ssl.trustmanager.algorithm", JAVA_TLS),
    ("value.deserializer", "values are read as bytes; cast the value column instead"),
    ("value.serializer", "values are written as bytes; cast the value column instead"),
];

/// What this build of the client can authenticate with.
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// Why a property is refused on either side.
pub(super) fn denied(property: &str) -> Option<&'static str> {
    DENIED.iter().find(|(denied, _)| *denied == property).map(|(_, reason)| *reason)
}

/// Puts Java's properties into librdkafka's words.
pub(super) fn translate(owner: &str, properties: &mut Properties) -> Result<()> {
    let refuse = |property: &str, reason: &str| invalid(format!("{owner}: option kafka.{property}: {reason}"));
    for property in WITHOUT_EFFECT {
        if properties.remove(*property).is_some() {
            tracing::info!(target: "tidemill::kafka", "{owner}: option kafka.{property} has no effect on this client");
        }
    }
    trust_store(properties, &refuse)?;
    key_store(properties, &refuse)?;
    for (java, ours) in RENAMED {
        if let Some(value) = properties.remove(*java) {
            if properties.contains_key(*ours) {
                return Err(refuse(java, &format!("kafka.{ours} says the same and is given as well; leave one out")));
            }
            properties.insert((*ours).into(), value);
        }
    }
    if let Some(bytes) = properties.remove("buffer.memory") {
        let bytes: u64 = bytes.trim().parse().map_err(|_| refuse("buffer.memory", "it must be a number of bytes"))?;
        properties.insert("queue.buffering.max.kbytes".into(), bytes.div_ceil(1024).max(1).to_string());
    }
    if let Some(algorithm) = properties.get_mut("ssl.endpoint.identification.algorithm")
        && algorithm.trim().is_empty()
    {
        // Java switches the check off with an empty text.
        *algorithm = "none".into();
    }
    login(properties, &refuse)
}

/// The kind of a store: as its type says, otherwise as its file name ends.
fn store_kind(properties: &mut Properties, which: &str) -> String {
    let named = properties.remove(&format!("ssl.{which}.type")).map(|kind| kind.trim().to_ascii_uppercase());
    named.unwrap_or_else(|| {
        let path = properties.get(&format!("ssl.{which}.location")).map(String::as_str).unwrap_or_default();
        match path.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).as_deref() {
            Some("pem" | "crt" | "cer") => "PEM".into(),
            Some("p12" | "pfx") => "PKCS12".into(),
            // Java's default.
            _ => "JKS".into(),
        }
    })
}

/// Java's trust store: a PEM file, or PEM text.
fn trust_store(properties: &mut Properties, refuse: &impl Fn(&str, &str) -> Error) -> Result<()> {
    let kind = store_kind(properties, "truststore");
    let password = properties.remove("ssl.truststore.password");
    let Some(path) = properties.remove("ssl.truststore.location") else { return Ok(()) };
    if kind != "PEM" {
        return Err(refuse(
            "ssl.truststore.location",
            &format!(
                "{path} counts as a {kind} store, which only Java reads; export its certificates with `keytool -exportcert \
                 -rfc`, and give the PEM file as kafka.ssl.truststore.location with kafka.ssl.truststore.type PEM"
            ),
        ));
    }
    if password.is_some() {
        return Err(refuse("ssl.truststore.password", "a PEM trust store has no password; leave it out"));
    }
    properties.insert("ssl.ca.location".into(), path);
    Ok(())
}

/// Java's key store: a PEM file with key and certificates, or PKCS#12, which OpenSSL reads as it is.
fn key_store(properties: &mut Properties, refuse: &impl Fn(&str, &str) -> Error) -> Result<()> {
    let kind = store_kind(properties, "keystore");
    let Some(path) = properties.get("ssl.keystore.location").cloned() else { return Ok(()) };
    match kind.as_str() {
        "PKCS12" => Ok(()),
        "PEM" => {
            if properties.remove("ssl.keystore.password").is_some() {
                return Err(refuse(
                    "ssl.keystore.password",
                    "a PEM key store has no password; the one of its key is kafka.ssl.key.password",
                ));
            }
            properties.remove("ssl.keystore.location");
            properties.insert("ssl.certificate.location".into(), path.clone());
            properties.insert("ssl.key.location".into(), path);
            Ok(())
        }
        _ => Err(refuse(
            "ssl.keystore.location",
            &format!(
                "{path} counts as a {kind} store, which only Java reads; convert it with `keytool -importkeystore \
                 -deststoretype PKCS12`, and give kafka.ssl.keystore.type PKCS12"
            ),
        )),
    }
}

/// User, password and mechanism, from `sasl.jaas.config` where that is given.
fn login(properties: &mut Properties, refuse: &impl Fn(&str, &str) -> Error) -> Result<()> {
    let spoken = MECHANISMS.join(", ");
    if let Some(mechanism) = properties.remove("sasl.mechanisms") {
        properties.entry("sasl.mechanism".into()).or_insert(mechanism);
    }
    if let Some(text) = properties.remove("sasl.jaas.config") {
        let at = "sasl.jaas.config";
        let Some((module, options)) = parse_jaas(&text) else {
            return Err(refuse(at, "it is not of the form `module required username=\"...\" password=\"...\";`"));
        };
        let fits: &[&str] = match module.rsplit('.').next().unwrap_or_default() {
            "PlainLoginModule" => &MECHANISMS[..1],
            "ScramLoginModule" => &MECHANISMS[1..],
            _ => {
                return Err(refuse(
                    at,
                    &format!(
                        "the login module {module} is not supported; this client speaks {spoken}, and TLS client certificates"
                    ),
                ));
            }
        };
        match properties.get("sasl.mechanism") {
            None if fits.len() == 1 => drop(properties.insert("sasl.mechanism".into(), fits.join(""))),
            Some(mechanism) if fits.contains(&mechanism.trim().to_ascii_uppercase().as_str()) => {}
            _ => {
                return Err(refuse(at, &format!("{module} needs kafka.sasl.mechanism to be {}", fits.join(" or "))));
            }
        }
        for (option, property) in [("username", "sasl.username"), ("password", "sasl.password")] {
            let value = options.get(option).ok_or_else(|| refuse(at, &format!("it has no {option}")))?;
            if properties.insert(property.into(), value.clone()).is_some() {
                return Err(refuse(at, &format!("kafka.{property} is given as well; leave one out")));
            }
        }
        if options.get("tokenauth").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(refuse(at, "delegation tokens (tokenauth) are not supported; give a user and a password"));
        }
    }
    let uses_sasl =
        properties.get("security.protocol").is_some_and(|protocol| protocol.to_ascii_uppercase().starts_with("SASL_"));
    match properties.get("sasl.mechanism").map(|mechanism| mechanism.trim().to_ascii_uppercase()) {
        None if uses_sasl => Err(refuse("sasl.mechanism", &format!("it is required with SASL: one of {spoken}"))),
        Some(mechanism) if !MECHANISMS.contains(&mechanism.as_str()) => Err(refuse(
            "sasl.mechanism",
            &format!(
                "{mechanism} is not supported by this build, which speaks {spoken}; TLS client certificates work as well"
            ),
        )),
        Some(mechanism) => {
            properties.insert("sasl.mechanism".into(), mechanism);
            Ok(())
        }
        None => Ok(()),
    }
}

/// `Module flag key=value key="value";`: the module and its options. None for any other text, and for two modules.
fn parse_jaas(text: &str) -> Option<(String, Properties)> {
    let body = text.trim().strip_suffix(';')?;
    let (module, rest) = body.trim().split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let (flag, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if !["required", "requisite", "sufficient", "optional"].contains(&flag.to_ascii_lowercase().as_str()) {
        return None;
    }
    let mut options = Properties::new();
    let mut chars = rest.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Some((module.to_owned(), options));
        }
        let mut key = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && !c.is_whitespace()) {
            key.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        chars.next_if_eq(&'=')?;
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let mut value = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => value.push(chars.next()?),
                    c => value.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| !c.is_whitespace() && *c != ';') {
                value.push(c);
            }
        }
        if key.is_empty() || chars.peek() == Some(&';') {
            return None;
        }
        options.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn translated(pairs: Pairs<'_>) -> Result<Vec<(String, String)>> {
        let mut properties = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        translate("Kafka source", &mut properties)?;
        Ok(properties.into_iter().collect())
    }

    fn ours(pairs: Pairs<'_>) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn java_names_become_the_clients() {
        let cases: &[(Pairs<'_>, Pairs<'_>)] = &[
            (&[("ssl.truststore.location", "/ca.pem")], &[("ssl.ca.location", "/ca.pem")]),
            (&[("ssl.truststore.location", "/ca"), ("ssl.truststore.type", "pem")], &[("ssl.ca.location", "/ca")]),
            (
                &[("ssl.keystore.location", "/me.pem"), ("ssl.key.password", "x")],
                &[("ssl.certificate.location", "/me.pem"), ("ssl.key.location", "/me.pem"), ("ssl.key.password", "x")],
            ),
            (
                &[("ssl.keystore.location", "/me.p12"), ("ssl.keystore.password", "x")],
                &[("ssl.keystore.location", "/me.p12"), ("ssl.keystore.password", "x")],
            ),
            (
                &[
                    ("ssl.keystore.key", "K"),
                    ("ssl.keystore.certificate.chain", "C"),
                    ("ssl.truststore.certificates", "T"),
                ],
                &[("ssl.ca.pem", "T"), ("ssl.certificate.pem", "C"), ("ssl.key.pem", "K")],
            ),
            (&[("ssl.endpoint.identification.algorithm", "")], &[("ssl.endpoint.identification.algorithm", "none")]),
            (
                &[("fetch.max.wait.ms", "5"), ("max.poll.records", "9"), ("buffer.memory", "2049")],
                &[("fetch.wait.max.ms", "5"), ("queue.buffering.max.kbytes", "3")],
            ),
            (
                &[
                    ("security.protocol", "SASL_SSL"),
                    (
                        "sasl.jaas.config",
                        "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"ada\" password=\"a\\\"b ;c\";",
                    ),
                ],
                &[
                    ("sasl.mechanism", "PLAIN"),
                    ("sasl.password", "a\"b ;c"),
                    ("sasl.username", "ada"),
                    ("security.protocol", "SASL_SSL"),
                ],
            ),
            (
                &[
                    ("sasl.mechanism", "scram-sha-512"),
                    ("sasl.jaas.config", "a.ScramLoginModule required\n username = ada password=pw ;"),
                ],
                &[("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.password", "pw"), ("sasl.username", "ada")],
            ),
        ];
        for (given, expected) in cases {
            assert_eq!(translated(given).unwrap(), ours(expected), "{given:?}");
        }
    }

    #[test]
    fn what_only_java_can_do_is_refused_by_name_and_without_secrets() {
        let cases: &[(Pairs<'_>, &str)] = &[
            (
                &[("ssl.truststore.location", "/trust.jks"), ("ssl.truststore.password", "canary")],
                "option kafka.ssl.truststore.location: /trust.jks counts as a JKS store, which only Java reads; export",
            ),
            (&[("ssl.truststore.location", "/trust")], "/trust counts as a JKS store"),
            (
                &[("ssl.truststore.location", "/ca.pem"), ("ssl.truststore.password", "canary")],
                "option kafka.ssl.truststore.password: a PEM trust store has no password",
            ),
            (&[("ssl.keystore.location", "/me.jks")], "-deststoretype PKCS12"),
            (
                &[("ssl.keystore.location", "/me.pem"), ("ssl.keystore.password", "canary")],
                "the one of its key is kafka.ssl.key.password",
            ),
            (&[("sasl.jaas.config", "canary")], "option kafka.sasl.jaas.config: it is not of the form"),
            (
                &[("sasl.jaas.config", "x.Krb5LoginModule required useKeyTab=true;")],
                "the login module x.Krb5LoginModule is not supported; this client speaks PLAIN, SCRAM-SHA-256, SCRAM-SHA-512",
            ),
            (
                &[("sasl.jaas.config", "x.ScramLoginModule required username=\"a\" password=\"canary\";")],
                "needs kafka.sasl.mechanism to be SCRAM-SHA-256 or SCRAM-SHA-512",
            ),
            (&[("sasl.jaas.config", "x.PlainLoginModule required username=\"a\";")], "it has no password"),
            (
                &[
                    ("sasl.password", "canary"),
                    ("sasl.jaas.config", "x.PlainLoginModule required username=\"a\" password=\"canary\";"),
                ],
                "kafka.sasl.password is given as well",
            ),
            (&[("sasl.mechanism", "GSSAPI")], "GSSAPI is not supported by this build"),
            (&[("sasl.mechanisms", "OAUTHBEARER")], "OAUTHBEARER is not supported by this build"),
            (&[("security.protocol", "sasl_plaintext")], "option kafka.sasl.mechanism: it is required with SASL"),
            (&[("buffer.memory", "much")], "it must be a number of bytes"),
            (&[("fetch.max.wait.ms", "5"), ("fetch.wait.max.ms", "6")], "kafka.fetch.wait.max.ms says the same"),
        ];
        for (given, part) in cases {
            let error = translated(given).unwrap_err();
            assert_eq!(error.code(), crate::error::ErrorCode::InvalidOption);
            assert!(
                error.message().starts_with("Kafka source: option kafka.") && error.message().contains(part),
                "{error}"
            );
            assert!(!error.message().contains("canary"), "{error}");
        }
        assert!(denied("sasl.login.class").is_some() && denied("ssl.cipher.suites").is_none());
    }

    #[test]
    fn two_login_modules_are_no_configuration() {
        let two = "a.PlainLoginModule required username=x password=y; b.PlainLoginModule required username=z;";
        assert_eq!(parse_jaas(two), None);
        assert_eq!(parse_jaas("a.PlainLoginModule required username=x"), None);
        assert_eq!(parse_jaas("a.PlainLoginModule perhaps username=x;"), None);
    }
}
