//! Buckets by Spark's settings.
//!
//! Comes in: a bucket and the session's configuration. Goes out: its store, not yet connected. Fails: settings that S3 cannot use.
//! A setting is looked up as `fs.s3a.bucket.<bucket>.<key>`, then as `fs.s3a.<key>`, each with and without `spark.hadoop.`; what is
//! not set comes from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `AWS_REGION`, roles of the machine).

use super::Opened;
use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use object_store::RetryConfig;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use std::sync::Arc;

/// Opens the store of a bucket; `text` is the URL that the user wrote.
pub(super) fn open(text: &str, bucket: &str, config: &Config) -> Result<Opened> {
    let store = builder(bucket, config)?.build().map_err(|cause| {
        Error::caused_by(
            ErrorCode::InvalidOption,
            format!("cannot open '{text}': {cause}; check the settings fs.s3a.*"),
            cause,
        )
    })?;
    let store = Arc::new(store);
    Ok((store.clone(), store))
}

fn builder(bucket: &str, config: &Config) -> Result<AmazonS3Builder> {
    let setting = |key: &str| {
        let names = [
            format!("spark.hadoop.fs.s3a.bucket.{bucket}.{key}"),
            format!("fs.s3a.bucket.{bucket}.{key}"),
            format!("spark.hadoop.fs.s3a.{key}"),
            format!("fs.s3a.{key}"),
        ];
        names.iter().find_map(|name| config.get(name)).filter(|value| !value.trim().is_empty())
    };
    let flag = |key: &str| match setting(key) {
        None => Ok(None),
        Some(text) if text.trim().eq_ignore_ascii_case("true") => Ok(Some(true)),
        Some(text) if text.trim().eq_ignore_ascii_case("false") => Ok(Some(false)),
        Some(text) => {
            Err(Error::new(ErrorCode::InvalidOption, format!("fs.s3a.{key} = {text:?}: expected true or false")))
        }
    };
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    if let Some(key) = setting("access.key") {
        builder = builder.with_access_key_id(key);
    }
    if let Some(key) = setting("secret.key") {
        builder = builder.with_secret_access_key(key);
    }
    if let Some(token) = setting("session.token") {
        builder = builder.with_token(token);
    }
    if setting("aws.credentials.provider").is_some_and(|provider| provider.contains("Anonymous")) {
        builder = builder.with_skip_signature(true);
    }
    let virtual_hosted = flag("path.style.access")?.is_some_and(|path_style| !path_style);
    if let Some(endpoint) = setting("endpoint") {
        let endpoint = endpoint.trim().trim_end_matches('/');
        let encrypted = flag("connection.ssl.enabled")?.unwrap_or(true);
        let endpoint = match endpoint.contains("://") {
            true => endpoint.to_string(),
            false => format!("{}://{endpoint}", if encrypted { "https" } else { "http" }),
        };
        if let Some(region) = region_of(&endpoint) {
            builder = builder.with_region(region);
        }
        // A bucket in the host's name is asked for in words; any other server is addressed by path.
        let endpoint = match endpoint.split_once("://") {
            Some((scheme, host)) if virtual_hosted => format!("{scheme}://{bucket}.{host}"),
            _ => endpoint,
        };
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    if let Some(region) = setting("endpoint.region") {
        builder = builder.with_region(region);
    }
    if virtual_hosted {
        builder = builder.with_virtual_hosted_style_request(true);
    }
    let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let endpoint = endpoint.iter().find_map(|key| builder.get_config_value(key));
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
        builder = builder.with_allow_http(true);
    }
    if let Some(attempts) = setting("attempts.maximum") {
        let max_retries = attempts.trim().parse().map_err(|_| {
            Error::new(
                ErrorCode::InvalidOption,
                format!("fs.s3a.attempts.maximum = {attempts:?}: expected a whole number of 0 or more"),
            )
        })?;
        builder = builder.with_retry(RetryConfig { max_retries, ..RetryConfig::default() });
    }
    Ok(builder)
}

/// The region in the name of one of Amazon's own endpoints, `s3.eu-west-1.amazonaws.com`.
fn region_of(endpoint: &str) -> Option<&str> {
    let (_, host) = endpoint.split_once("://")?;
    let region = host.strip_prefix("s3.").or(host.strip_prefix("s3-"))?.strip_suffix(".amazonaws.com")?;
    (!region.is_empty() && !region.contains('.')).then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(settings: &[(&str, &str)]) -> AmazonS3Builder {
        let config = Config::default();
        for (key, value) in settings {
            config.set(key, value).unwrap();
        }
        builder("rides", &config).unwrap()
    }

    #[test]
    fn settings_are_sparks_with_and_without_prefix_and_per_bucket() {
        let built = built(&[
            ("spark.hadoop.fs.s3a.access.key", "me"),
            ("fs.s3a.secret.key", "secret"),
            ("fs.s3a.endpoint", "localhost:9000"),
            ("fs.s3a.bucket.rides.endpoint", "127.0.0.1:9001/"),
            ("fs.s3a.connection.ssl.enabled", "false"),
            ("fs.s3a.path.style.access", "true"),
            ("fs.s3a.endpoint.region", "eu-west-3"),
        ]);
        let value = |key| built.get_config_value(&key);
        assert_eq!(value(AmazonS3ConfigKey::AccessKeyId).as_deref(), Some("me"));
        assert_eq!(value(AmazonS3ConfigKey::SecretAccessKey).as_deref(), Some("secret"));
        assert_eq!(value(AmazonS3ConfigKey::S3Endpoint).as_deref(), Some("http://127.0.0.1:9001"));
        assert_eq!(value(AmazonS3ConfigKey::Region).as_deref(), Some("eu-west-3"));
        assert_eq!(value(AmazonS3ConfigKey::Client(object_store::ClientConfigKey::AllowHttp)).as_deref(), Some("true"));
    }

    #[test]
    fn endpoints_carry_scheme_region_and_bucket() {
        let settings = [("fs.s3a.endpoint", "s3.eu-west-1.amazonaws.com"), ("fs.s3a.path.style.access", "false")];
        let built = built(&settings);
        let value = |key| built.get_config_value(&key);
        assert_eq!(value(AmazonS3ConfigKey::S3Endpoint).as_deref(), Some("https://rides.s3.eu-west-1.amazonaws.com"));
        assert_eq!(value(AmazonS3ConfigKey::Region).as_deref(), Some("eu-west-1"));
        assert_eq!(region_of("https://s3-us-west-2.amazonaws.com"), Some("us-west-2"));
        assert_eq!(region_of("https://s3.amazonaws.com"), None);
        assert_eq!(region_of("https://minio.example.org"), None);
    }

    #[test]
    fn settings_that_s3_cannot_use_are_named() {
        for (key, value) in [("fs.s3a.path.style.access", "yes"), ("fs.s3a.attempts.maximum", "many")] {
            let config = Config::default();
            config.set(key, value).unwrap();
            let error = builder("rides", &config).err().unwrap();
            assert_eq!(error.code(), ErrorCode::InvalidOption);
            assert!(error.message().starts_with(&format!("{key} = {value:?}")), "{error}");
        }
        let config = Config::default();
        config.set("fs.s3a.access.key", "half").unwrap();
        config.set("fs.s3a.secret.key", " ").unwrap();
        if std::env::var_os("AWS_SECRET_ACCESS_KEY").is_none() {
            let error = open("s3a://rides/x", "rides", &config).err().unwrap();
            assert_eq!(error.code(), ErrorCode::InvalidOption);
            assert!(error.message().starts_with("cannot open 's3a://rides/x'"), "{error}");
        }
    }
}
