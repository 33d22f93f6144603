//! The session's configuration, as `spark.conf` reads and sets it.
//!
//! Comes in: one operation over some keys. Goes out: keys with values, and warnings. Fails: unknown keys without a default, values that a key cannot have,
//! and static keys, unless the client asked for silence.

use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use spark_connect_proto::KeyValue;
use spark_connect_proto::config_request::operation::OpType;

/// What an operation gives: pairs and warnings.
type Answer = (Vec<KeyValue>, Vec<String>);

/// Carries out an operation.
///
/// # Errors
/// `SQL_CONF_NOT_FOUND`, `INVALID_CONF_VALUE`, `CANNOT_MODIFY_STATIC_CONFIG`.
pub fn run(config: &Config, operation: OpType) -> Result<Answer> {
    let mut warnings = Vec::new();
    let pairs = match operation {
        OpType::Set(set) => {
            let silent = set.silent();
            for pair in set.pairs {
                let value = pair.value.ok_or_else(|| {
                    Error::new(
                        ErrorCode::ConfValueType,
                        format!("the configuration key {:?} was set to no value", pair.key),
                    )
                })?;
                match config.set(&pair.key, value) {
                    Ok(()) => {}
                    // The settings of the session's builder: what the server has decided holds.
                    Err(error) if silent => warnings.push(error.to_string()),
                    Err(error) => return Err(error),
                }
            }
            Vec::new()
        }
        OpType::Get(get) => {
            let pairs = get.keys.into_iter().map(|key| Ok(KeyValue { value: config.try_get(&key)?, key }));
            pairs.collect::<Result<_>>()?
        }
        OpType::GetWithDefault(get) => {
            let pairs = get.pairs.into_iter();
            pairs.map(|pair| KeyValue { value: config.get_set(&pair.key).or(pair.value), key: pair.key }).collect()
        }
        OpType::GetOption(get) => get.keys.into_iter().map(|key| KeyValue { value: config.get(&key), key }).collect(),
        OpType::GetAll(get) => {
            let prefix = get.prefix.unwrap_or_default();
            let all = config.get_all().into_iter();
            let chosen = all.filter_map(|(key, value)| {
                let key = key.strip_prefix(&prefix)?.to_string();
                Some(KeyValue { key, value: Some(value) })
            });
            chosen.collect()
        }
        OpType::Unset(unset) => {
            unset.keys.iter().try_for_each(|key| config.unset(key))?;
            Vec::new()
        }
        OpType::IsModifiable(asked) => {
            let keys = asked.keys.into_iter();
            keys.map(|key| KeyValue { value: Some(config.is_modifiable(&key).to_string()), key }).collect()
        }
    };
    Ok((pairs, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use spark_connect_proto::config_request as proto;

    fn pair(key: &str, value: Option<&str>) -> KeyValue {
        KeyValue { key: key.to_string(), value: value.map(str::to_string) }
    }

    #[test]
    fn keys_are_set_read_and_taken_back() {
        let config = Config::default();
        let set = |key: &str, value: &str, silent| {
            OpType::Set(proto::Set { pairs: vec![pair(key, Some(value))], silent: Some(silent) })
        };
        run(&config, set("spark.sql.session.timeZone", "Europe/Oslo", false)).unwrap();
        let (_, warnings) = run(&config, set("spark.sql.warehouse.dir", "w", true)).unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(run(&config, set("spark.sql.warehouse.dir", "w", false)).unwrap_err().code(), ErrorCode::ConfStatic);
        let keys = vec!["spark.sql.session.timeZone".to_string(), "spark.sql.streaming.pollingDelay".to_string()];
        let (got, _) = run(&config, OpType::Get(proto::Get { keys: keys.clone() })).unwrap();
        assert_eq!(got, [pair(&keys[0], Some("Europe/Oslo")), pair(&keys[1], Some("10ms"))]);
        let missing = run(&config, OpType::Get(proto::Get { keys: vec!["no.such".into()] })).unwrap_err();
        assert_eq!(missing.code(), ErrorCode::ConfNotFound);
        let asked = vec![pair("no.such", Some("x")), pair(&keys[0], Some("x")), pair("no.other", None)];
        let (got, _) = run(&config, OpType::GetWithDefault(proto::GetWithDefault { pairs: asked })).unwrap();
        assert_eq!(got, [pair("no.such", Some("x")), pair(&keys[0], Some("Europe/Oslo")), pair("no.other", None)]);
        let all = OpType::GetAll(proto::GetAll { prefix: Some("spark.sql.".into()) });
        assert_eq!(run(&config, all).unwrap().0, [pair("session.timeZone", Some("Europe/Oslo"))]);
        let modifiable = proto::IsModifiable { keys: vec![keys[0].clone(), "spark.sql.warehouse.dir".into()] };
        let (got, _) = run(&config, OpType::IsModifiable(modifiable)).unwrap();
        assert_eq!(got, [pair(&keys[0], Some("true")), pair("spark.sql.warehouse.dir", Some("false"))]);
        run(&config, OpType::Unset(proto::Unset { keys: vec![keys[0].clone()] })).unwrap();
        let (got, _) =
            run(&config, OpType::GetOption(proto::GetOption { keys: vec![keys[0].clone(), "no.such".into()] }))
                .unwrap();
        assert_eq!(got, [pair(&keys[0], Some("UTC")), pair("no.such", None)]);
    }
}
