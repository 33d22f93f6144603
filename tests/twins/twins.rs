//! The GPU gives the native twins' bits.
//!
//! The kernels run on llvmpipe, Mesa's software Vulkan driver, opened by name. Where there is none, each test of the device
//! prints one line that begins with `skipped:` to standard error and passes; the tests of the composed text run everywhere.

#[path = "../support/skip.rs"]
mod skip;
mod generate;
mod queries;
mod text;

use std::sync::OnceLock;

use generate::{Data, Rng, Values, case};
use tidemill_kernels::compose::Tier;
use tidemill_kernels::gpu::{Gpu, Tuning};
use tidemill_kernels::{
    Aggregate, ColumnType, Device, DeviceChoice, Function, Groups, KernelError, Pane, Partial, Program, Scratch, cpu,
};

const SOFTWARE: &str = "llvmpipe";

/// The device that all tests share, since opening one takes longer than most tests.
fn device(test: &str) -> Option<Device> {
    static DEVICE: OnceLock<Result<Device, KernelError>> = OnceLock::new();
    match DEVICE.get_or_init(|| Device::open(&DeviceChoice::Named(SOFTWARE.into()))) {
        Ok(device) => Some(device.clone()),
        Err(error) => {
            skip::skipped(test, error);
            None
        }
    }
}

/// Groups with sums in their canonical bytes, so that equality is of bits.
fn bits(groups: &Groups) -> (Groups, Vec<Vec<u8>>) {
    let sums = groups.aggregates.iter().flat_map(|partial| match partial {
        Partial::SumF64 { sums, .. } => sums.iter().map(|sum| sum.to_bytes()).collect(),
        _ => Vec::new(),
    });
    (groups.clone(), sums.collect())
}

/// Runs a batch on the device and on the CPU and compares.
fn compare(device: &Device, program: &Program, data: &Data, tuning: Tuning, what: &str) -> Groups {
    data.with(|batch| {
        let twin = cpu::aggregate(program, batch).expect("the twin runs");
        let found = device.aggregate_on_gpu(program, batch, &mut Scratch::default(), tuning);
        let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(bits(&found), bits(&twin), "{what}: {program:#?}");
        twin
    })
}

fn tier(tier: Tier) -> Tuning {
    Tuning { tier: Some(tier), ..Tuning::default() }
}

#[test]
fn random_programs_agree() {
    let Some(device) = device("random_programs_agree") else { return };
    let mut groups = 0;
    for seed in 0..32 {
        let case = case(seed, &[700, 3000, 0]);
        for (index, data) in case.batches.iter().enumerate() {
            let what = format!("seed {seed}, batch {index}");
            groups += compare(&device, &case.program, data, Tuning::default(), &what).rows.len();
        }
    }
    assert!(groups > 5_000, "the cases have become trivial: {groups} groups");
}

#[test]
fn every_tier_and_any_number_of_workgroups_agree() {
    let Some(device) = device("every_tier_and_any_number_of_workgroups_agree") else { return };
    let data = queries::rides(20_000, 20, 300);
    for (name, program) in [("city", queries::city()), ("surge", queries::surge()), ("driver", queries::driver())] {
        for kept in [Tier::Private, Tier::Dense, Tier::Hash] {
            for workgroups in [1, 3, 64] {
                let tuning = Tuning { workgroups: Some(workgroups), ..tier(kept) };
                compare(&device, &program, &data, tuning, &format!("{name} {kept:?} on {workgroups} workgroups"));
            }
        }
    }
}

#[test]
fn tables_that_overflow_grow() {
    let Some(device) = device("tables_that_overflow_grow") else { return };
    let data = queries::rides(60_000, 10, 50_000);
    let tuning = Tuning { first_slots: Some(16), ..tier(Tier::Hash) };
    let groups = compare(&device, &queries::driver(), &data, tuning, "from 16 slots");
    assert!(groups.rows.len() > 10_000);
}

#[test]
fn a_query_keeps_its_scratch_over_batches_of_any_size() {
    let Some(device) = device("a_query_keeps_its_scratch_over_batches_of_any_size") else { return };
    let mut scratch = Scratch::default();
    let program = queries::driver();
    for (rows, drivers) in [(5_000, 40), (1, 1), (50_000, 30_000), (0, 5), (300, 7), (50_000, 200)] {
        queries::rides(rows, 3, drivers).with(|batch| {
            let (found, ran) = device.aggregate(&program, batch, &mut scratch).expect("a valid batch");
            assert!(ran.gpu, "{ran:?}");
            assert_eq!(bits(&found), bits(&cpu::aggregate(&program, batch).expect("the twin runs")), "{rows} rows");
        });
    }
}

#[test]
fn callers_on_many_threads_get_their_own_results() {
    let Some(device) = device("callers_on_many_threads_get_their_own_results") else { return };
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let device = device.clone();
            scope.spawn(move || {
                let data = queries::rides(3_000 + thread as usize, 5 + thread, 50);
                for _ in 0..5 {
                    compare(&device, &queries::city(), &data, Tuning::default(), "one of many threads");
                }
            });
        }
    });
}

#[test]
fn a_grouping_without_keys_and_aggregates_counts_rows() {
    let Some(device) = device("a_grouping_without_keys_and_aggregates_counts_rows") else { return };
    let program = Program { columns: vec![], filter: None, pane: None, keys: vec![], aggregates: vec![], max_of: None };
    let data = Data { rows: 1000, ..Data::default() };
    let groups = compare(&device, &program, &data, Tuning::default(), "nothing but rows");
    assert_eq!((groups.first_row, groups.rows), (vec![0], vec![1000]));
}

#[test]
fn panes_of_any_width_agree_up_to_the_ends_of_time() {
    let Some(device) = device("panes_of_any_width_agree_up_to_the_ends_of_time") else { return };
    let edges = [i64::MIN, i64::MIN + 1, -1_000_001, -1, 0, 1, 999_999, 1 << 40, i64::MAX - 1, i64::MAX];
    for width in [1, 2, 3, 300_000_000, (1 << 33) + 1, 3 << 35, i64::MAX] {
        for origin in [0, -5, 77] {
            for times in [&edges[..], &edges[2..7], &edges[..2], &edges[3..8]] {
                let program = Program {
                    columns: vec![ColumnType::I64],
                    filter: None,
                    pane: Some(Pane { time: 0, width, origin }),
                    keys: vec![],
                    aggregates: vec![],
                    max_of: (origin == 0).then_some(0),
                };
                let columns = vec![Values::I64(times.to_vec(), None)];
                let data = Data { rows: times.len(), columns, ..Data::default() };
                data.with(|batch| {
                    let (found, _) = device.aggregate(&program, batch, &mut Scratch::default()).expect("valid");
                    assert_eq!(found, cpu::aggregate(&program, batch).expect("valid"), "{width} {origin} {times:?}");
                });
            }
        }
    }
}

#[test]
fn more_groups_than_the_device_holds_run_on_the_twin() {
    let Some(device) = device("more_groups_than_the_device_holds_run_on_the_twin") else { return };
    // 2^18 registers a group and 3,000 groups: 750 MiB.
    let program = Program {
        columns: vec![ColumnType::I64, ColumnType::Code],
        filter: None,
        pane: None,
        keys: vec![0],
        aggregates: vec![Aggregate { function: Function::Hll { column: 1, table: 0, precision: 18 }, filter: None }],
        max_of: None,
    };
    let columns = vec![Values::I64((0..3000).collect(), None), Values::Code(vec![0; 3000], 1)];
    let data = Data { rows: 3000, columns, tables: vec![], hll_tables: vec![vec![7 << 8 | 3, 0]] };
    data.with(|batch| {
        let (groups, ran) = device.aggregate(&program, batch, &mut Scratch::default()).expect("the twin holds them");
        assert_eq!(groups.rows.len(), 3000);
        assert!(!ran.gpu && ran.reason.contains("slots"), "{ran:?}");
    });
}

#[test]
fn invalid_batches_are_refused_as_by_the_twin() {
    let Some(device) = device("invalid_batches_are_refused_as_by_the_twin") else { return };
    let mut data = queries::rides(10, 3, 3);
    data.columns[1] = Values::Code(vec![9; 10], 3);
    data.with(|batch| {
        let program = queries::city();
        let found = device.aggregate(&program, batch, &mut Scratch::default()).map(|(groups, _)| groups);
        assert!(matches!(found, Err(KernelError::InvalidBatch { .. })));
        assert_eq!(found, cpu::aggregate(&program, batch));
    });
}

#[test]
fn a_lost_device_falls_back_to_the_twin_and_comes_back() {
    if device("a_lost_device_falls_back_to_the_twin_and_comes_back").is_none() {
        return;
    }
    // One of its own, so that no other test sees it lost.
    let device = Device::open(&DeviceChoice::Named(SOFTWARE.into())).expect("it was found before");
    let mut scratch = Scratch::default();
    queries::rides(500, 3, 9).with(|batch| {
        let program = queries::city();
        let (before, ran) = device.aggregate(&program, batch, &mut scratch).expect("valid");
        assert!(ran.gpu);
        device.as_gpu().expect("a GPU").lose();
        let direct = device.aggregate_on_gpu(&program, batch, &mut scratch, Tuning::default());
        assert!(matches!(direct, Err(KernelError::DeviceLost { .. })), "{direct:?}");
        for fallbacks in 1..3 {
            let (after, ran) = device.aggregate(&program, batch, &mut scratch).expect("the twin runs");
            assert_eq!(bits(&after), bits(&before));
            assert!(!ran.gpu && ran.reason.contains("lost"), "{ran:?}");
            assert_eq!((device.fallbacks(), device.is_gpu()), (fallbacks, false));
        }
        device.reopen().expect("the driver is fine");
        let (again, ran) = device.aggregate(&program, batch, &mut scratch).expect("valid");
        assert_eq!(bits(&again), bits(&before));
        assert!(ran.gpu && device.is_gpu(), "{ran:?}");
    });
}

#[test]
fn choices_are_read_and_refused_by_name() {
    for (text, choice) in [
        ("auto", DeviceChoice::Auto),
        ("GPU", DeviceChoice::Gpu),
        (" cpu ", DeviceChoice::Cpu),
        ("LLVMpipe", DeviceChoice::Named("llvmpipe".into())),
    ] {
        assert_eq!(text.parse(), Ok(choice));
    }
    let error = Device::open(&DeviceChoice::Named("no such adapter".into())).expect_err("there is none");
    assert!(matches!(&error, KernelError::DeviceNotFound { wanted, .. } if wanted == "no such adapter"));
    let cpu = Device::open(&DeviceChoice::Cpu).expect("always there");
    assert_eq!((cpu.name(), cpu.is_gpu()), ("cpu", false));
    // Software adapters are neither `gpu` nor `auto`.
    if let Ok(device) = Device::open(&DeviceChoice::Gpu) {
        assert!(!device.name().to_lowercase().contains(SOFTWARE));
    }
    let auto = Device::open(&DeviceChoice::Auto).expect("never fails");
    assert!(!auto.name().to_lowercase().contains(SOFTWARE));
}

#[test]
fn panes_of_random_widths_agree() {
    let Some(device) = device("panes_of_random_widths_agree") else { return };
    // Division of 64 by up to 63 bits, as panes: one program, so one compilation, for all of them.
    let mut rng = Rng(7);
    for round in 0..64 {
        let width = ((rng.next() >> 1) >> rng.below(63)).max(1) as i64;
        let shift = rng.below(64);
        let times =
            (0..600).map(|_| (rng.next() as i64) >> shift).chain([i64::MIN >> shift, i64::MAX >> shift]).collect();
        let program = Program {
            columns: vec![ColumnType::I64],
            filter: None,
            pane: Some(Pane { time: 0, width, origin: (rng.next() as i64) >> 20 }),
            keys: vec![],
            aggregates: vec![],
            max_of: Some(0),
        };
        let data = Data { rows: 602, columns: vec![Values::I64(times, None)], ..Data::default() };
        data.with(|batch| {
            let (found, _) = device.aggregate(&program, batch, &mut Scratch::default()).expect("valid");
            assert_eq!(found, cpu::aggregate(&program, batch).expect("valid"), "round {round}, width {width}");
        });
    }
}

#[test]
fn a_device_that_is_fed_by_copies_agrees() {
    if device("a_device_that_is_fed_by_copies_agrees").is_none() {
        return;
    }
    let gpu = Gpu::open_staged(&DeviceChoice::Named(SOFTWARE.into())).expect("it was found before");
    let device = Device::with_gpu(gpu, "as if discrete", 100);
    let mut scratch = Scratch::default();
    let program = queries::city();
    for rows in [99, 100, 5_000, 20_000, 100, 0] {
        queries::rides(rows, 9, 70).with(|batch| {
            let (found, ran) = device.aggregate(&program, batch, &mut scratch).expect("valid");
            assert_eq!(ran.gpu, rows >= 100, "{ran:?}");
            assert_eq!(bits(&found), bits(&cpu::aggregate(&program, batch).expect("the twin runs")), "{rows} rows");
        });
    }
    assert_eq!(device.fallbacks(), 0, "a small batch is no fallback");
}
