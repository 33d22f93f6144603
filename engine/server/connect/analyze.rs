//! Questions about a plan that is not executed.
//!
//! Comes in: one question of an AnalyzePlan call. Goes out: its answer. Fails: what translating the plan fails with.

use super::command::{frame_of, relation};
use super::persisted;
use super::plan::questions::{json_to_ddl, parse_ddl, tree_string};
use super::plan::types::to_proto;
use super::session::ClientSession;
use crate::error::{Error, ErrorCode, Result};
use crate::frame::DataFrame;
use crate::plan::LogicalPlan;
use crate::plan::lower::lower;
use spark_connect_proto::analyze_plan_request::Analyze;
use spark_connect_proto::analyze_plan_request::explain::ExplainMode;
use spark_connect_proto::analyze_plan_response as answer;
use spark_connect_proto::analyze_plan_response::Result as Answer;
use spark_connect_proto::relation::RelType;
use spark_connect_proto::{Plan, StorageLevel};
use std::collections::BTreeSet;
use std::hash::Hasher;
use xxhash_rust::xxh3::Xxh3;

/// The version of Spark whose behaviour is followed.
pub const SPARK_VERSION: &str = "4.3.0";

/// Answers a question.
///
/// # Errors
/// As the module says.
pub async fn run(client: &ClientSession, question: Analyze) -> Result<Answer> {
    let frame = async |plan: Option<Plan>| -> Result<DataFrame> { frame_of(client, &relation(plan)?).await };
    Ok(match question {
        Analyze::Schema(asked) => {
            let schema = to_proto(frame(asked.plan).await?.schema());
            Answer::Schema(answer::Schema { schema: Some(schema) })
        }
        Analyze::Explain(asked) => {
            let extended = !matches!(asked.explain_mode(), ExplainMode::Simple | ExplainMode::Unspecified);
            let explain_string = explain(&frame(asked.plan).await?, extended).await?;
            Answer::Explain(answer::Explain { explain_string })
        }
        Analyze::TreeString(asked) => {
            let level = asked.level;
            let tree_string = tree_string(frame(asked.plan).await?.schema(), level);
            Answer::TreeString(answer::TreeString { tree_string })
        }
        Analyze::IsLocal(asked) => {
            let is_local = matches!(
                relation(asked.plan)?.rel_type,
                Some(
                    RelType::LocalRelation(_)
                        | RelType::CachedLocalRelation(_)
                        | RelType::ChunkedCachedLocalRelation(_)
                )
            );
            Answer::IsLocal(answer::IsLocal { is_local })
        }
        Analyze::IsStreaming(asked) => {
            let is_streaming = frame(asked.plan).await?.is_streaming();
            Answer::IsStreaming(answer::IsStreaming { is_streaming })
        }
        Analyze::InputFiles(asked) => {
            let mut files = BTreeSet::new();
            input_files(frame(asked.plan).await?.plan(), &mut files);
            Answer::InputFiles(answer::InputFiles { files: files.into_iter().collect() })
        }
        Analyze::SparkVersion(_) => Answer::SparkVersion(answer::SparkVersion { version: SPARK_VERSION.to_string() }),
        Analyze::DdlParse(asked) => {
            let parsed = parse_ddl(&asked.ddl_string)?;
            Answer::DdlParse(answer::DdlParse { parsed: Some(parsed) })
        }
        Analyze::SameSemantics(asked) => {
            let (one, other) = (frame(asked.target_plan).await?, frame(asked.other_plan).await?);
            let result = meaning(&one) == meaning(&other);
            Answer::SameSemantics(answer::SameSemantics { result })
        }
        Analyze::SemanticHash(asked) => {
            let mut hasher = Xxh3::new();
            hasher.write(meaning(&frame(asked.plan).await?).as_bytes());
            let result = hasher.finish() as i32;
            Answer::SemanticHash(answer::SemanticHash { result })
        }
        Analyze::Persist(asked) => {
            let level = asked.storage_level.unwrap_or_else(memory_and_disk);
            persisted::persist(client, asked.relation.unwrap_or_default(), level).await?;
            Answer::Persist(answer::Persist {})
        }
        Analyze::Unpersist(asked) => {
            client.persisted.remove(&asked.relation.unwrap_or_default());
            Answer::Unpersist(answer::Unpersist {})
        }
        Analyze::GetStorageLevel(asked) => {
            let storage_level = Some(client.persisted.level(&asked.relation.unwrap_or_default()));
            Answer::GetStorageLevel(answer::GetStorageLevel { storage_level })
        }
        Analyze::JsonToDdl(asked) => {
            let ddl_string = json_to_ddl(&asked.json_string)?;
            Answer::JsonToDdl(answer::JsonToDdl { ddl_string })
        }
    })
}

/// The files of the tables that a plan reads.
fn input_files(plan: &LogicalPlan, files: &mut BTreeSet<String>) {
    if let LogicalPlan::Source { provider, .. } = plan {
        files.extend(provider.files());
    }
    plan.inputs().into_iter().for_each(|input| input_files(input, files));
}

/// Spark's level where the client names none.
fn memory_and_disk() -> StorageLevel {
    StorageLevel { use_disk: true, use_memory: true, use_off_heap: false, deserialized: true, replication: 1 }
}

/// The plan in words: of a table how it is computed, of a stream its stages.
async fn explain(frame: &DataFrame, extended: bool) -> Result<String> {
    if !frame.is_streaming() {
        return frame.explain().await;
    }
    let device = frame.session().device()?;
    let lowered = lower(frame.plan())?;
    let text =
        crate::plan::explain::explain(frame.plan(), &lowered, &format!("{} ({})", device.name(), device.reason()));
    let stages = text.find("== Stages ==").filter(|_| !extended);
    Ok(stages.and_then(|at| text.get(at..)).unwrap_or(&text).to_string())
}

/// What a frame says: the same text for frames that say the same in the same words.
fn meaning(frame: &DataFrame) -> String {
    frame.plan().to_string()
}

/// A question of a later version of the protocol.
pub fn unknown() -> Error {
    Error::new(
        ErrorCode::UnsupportedOperation,
        "the question about the plan is of a later version of Spark Connect than this server knows",
    )
}
