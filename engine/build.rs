//! Generates the gRPC service trait of Spark Connect over the message types of the crate `apache-spark-connect-proto`, which has a client only.
//!
//! Comes in: the list of calls below. Goes out: `SparkConnectService.rs` in the build's folder. Fails: never for reasons of this machine.

fn main() {
    println!("cargo:rerun-if-changed=engine/build.rs");
    #[cfg(feature = "connect")]
    connect::generate();
}

#[cfg(feature = "connect")]
mod connect {
    use tonic_build::manual::{Builder, Method, Service};

    /// A call: its name in Rust and on the wire, the names of its messages, and which sides stream.
    type Call = (&'static str, &'static str, &'static str, &'static str, bool, bool);

    const CALLS: [Call; 12] = [
        ("execute_plan", "ExecutePlan", "ExecutePlanRequest", "ExecutePlanResponse", false, true),
        ("analyze_plan", "AnalyzePlan", "AnalyzePlanRequest", "AnalyzePlanResponse", false, false),
        ("config", "Config", "ConfigRequest", "ConfigResponse", false, false),
        ("add_artifacts", "AddArtifacts", "AddArtifactsRequest", "AddArtifactsResponse", true, false),
        ("artifact_status", "ArtifactStatus", "ArtifactStatusesRequest", "ArtifactStatusesResponse", false, false),
        ("interrupt", "Interrupt", "InterruptRequest", "InterruptResponse", false, false),
        ("reattach_execute", "ReattachExecute", "ReattachExecuteRequest", "ExecutePlanResponse", false, true),
        ("release_execute", "ReleaseExecute", "ReleaseExecuteRequest", "ReleaseExecuteResponse", false, false),
        ("release_session", "ReleaseSession", "ReleaseSessionRequest", "ReleaseSessionResponse", false, false),
        (
            "fetch_error_details",
            "FetchErrorDetails",
            "FetchErrorDetailsRequest",
            "FetchErrorDetailsResponse",
            false,
            false,
        ),
        ("clone_session", "CloneSession", "CloneSessionRequest", "CloneSessionResponse", false, false),
        ("get_status", "GetStatus", "GetStatusRequest", "GetStatusResponse", false, false),
    ];

    pub fn generate() {
        let mut service = Service::builder().name("SparkConnectService").package("spark.connect");
        for (name, route, input, output, client_streams, server_streams) in CALLS {
            let mut call = Method::builder()
                .name(name)
                .route_name(route)
                .input_type(format!("spark_connect_proto::{input}"))
                .output_type(format!("spark_connect_proto::{output}"))
                .codec_path("crate::server::connect::message::BoundedCodec");
            if client_streams {
                call = call.client_streaming();
            }
            if server_streams {
                call = call.server_streaming();
            }
            service = service.method(call.build());
        }
        Builder::new().build_client(false).build_server(true).compile(&[service.build()]);
    }
}
