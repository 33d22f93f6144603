//! The composed WGSL: kept for the ride queries in `tests/golden`, and valid for whatever can be composed.
//!
//! After a change of the shaders, run with `GOLDEN=write` and read the difference.

use std::path::Path;

use tidemill_kernels::compose::{Form, Kernel, Shape, Tier, compose};
use tidemill_kernels::{ColumnType, Predicate, Program};

use crate::generate::{Rng, case};
use crate::queries;

fn validate(kernel: &Kernel, what: &str) {
    let module = naga::front::wgsl::parse_str(&kernel.text)
        .unwrap_or_else(|error| panic!("{what}: {}", error.emit_to_string(&kernel.text)));
    // No capability at all: no 64-bit integers, no floats of 64 bits, no subgroups.
    let capabilities = naga::valid::Capabilities::empty();
    let info = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities).validate(&module);
    info.unwrap_or_else(|error| panic!("{what}: {}", error.emit_to_string(&kernel.text)));
    let floats = module.types.iter().filter(|(_, ty)| match ty.inner {
        naga::TypeInner::Scalar(scalar) | naga::TypeInner::Vector { scalar, .. } => {
            scalar.kind == naga::ScalarKind::Float
        }
        _ => false,
    });
    assert_eq!(floats.count(), 0, "{what}: a float in a kernel");
    let bindings = module.global_variables.iter().filter(|(_, variable)| variable.binding.is_some()).count();
    assert_eq!(bindings, 8, "{what}: bindings");
}

fn ride_shape(tier: Tier) -> Shape {
    Shape { tier, columns: vec![Form::Narrow, Form::Code, Form::Code, Form::F64 { limbs: 3 }, Form::Code, Form::Code] }
}

#[test]
fn ride_queries_are_as_kept() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    for (name, program, tier) in [
        ("city", queries::city(), Tier::Private),
        ("surge", queries::surge(), Tier::Dense),
        ("driver", queries::driver(), Tier::Hash),
    ] {
        let kernel = compose(&program, &ride_shape(tier)).expect("a small program");
        validate(&kernel, name);
        let path = folder.join(format!("{name}.wgsl"));
        if std::env::var_os("GOLDEN").is_some_and(|what| what == "write") {
            std::fs::write(&path, &kernel.text).expect("the folder is there");
        }
        let kept = std::fs::read_to_string(&path).expect("kept in the repository");
        assert!(kept == kernel.text, "{} differs from what is composed", path.display());
    }
}

#[test]
fn whatever_is_composed_is_valid() {
    for seed in 0..60 {
        let program = case(seed, &[]).program;
        let mut rng = Rng(seed);
        let columns: Vec<Form> = program
            .columns
            .iter()
            .enumerate()
            .map(|(c, kind)| match kind {
                ColumnType::I64 => rng.pick(&[Form::Narrow, Form::Wide]),
                ColumnType::F64 => Form::F64 { limbs: [3, 4, 6, 10, 68][c % 5] },
                ColumnType::Code => Form::Code,
                ColumnType::Truth => Form::Truth,
            })
            .collect();
        let codes_only = program.keys.iter().all(|&key| program.columns[key] == ColumnType::Code);
        for tier in [Tier::Private, Tier::Dense, Tier::Hash] {
            if tier == Tier::Hash || codes_only {
                let kernel = compose(&program, &Shape { tier, columns: columns.clone() }).expect("small");
                validate(&kernel, &format!("seed {seed}, {tier:?}"));
            }
        }
    }
}

#[test]
fn deep_predicates_are_refused_and_long_chains_are_not() {
    let leaf = || Box::new(Predicate::Column(0));
    let program = |filter| Program {
        columns: vec![ColumnType::Truth],
        filter: Some(filter),
        pane: None,
        keys: vec![],
        aggregates: vec![],
        max_of: None,
    };
    let shape = Shape { tier: Tier::Hash, columns: vec![Form::Truth] };
    let chain = (0..200).fold(Predicate::Column(0), |chain, _| Predicate::And(Box::new(chain), leaf()));
    validate(&compose(&program(chain), &shape).expect("flat"), "a chain of 200");
    let nested = (0..100).fold(Predicate::Column(0), |nested, i| match i % 2 {
        0 => Predicate::And(Box::new(nested), leaf()),
        _ => Predicate::Or(Box::new(nested), leaf()),
    });
    assert!(compose(&program(nested), &shape).is_err());
}
