//! Plans that PySpark's client has made (`fixtures/*.bin`, each one relation), and plans made here, by the rows that they give.

use super::*;
use arrow::util::pretty::pretty_format_batches;
use prost::Message;
use proto::data_type::Kind;
use proto::expression::{ExprType, Literal, literal::LiteralType};

struct Client {
    session: Session,
    blocks: HashMap<String, Bytes>,
}

impl Client {
    async fn new() -> Self {
        let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
        Self { session, blocks: HashMap::new() }
    }

    async fn plan(&self, relation: &proto::Relation) -> Result<DataFrame> {
        // As a server runs it: the future must be one that can move between threads.
        fn movable<T>(future: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
            future
        }
        let mut planner = Planner::new(self);
        movable(planner.relation(relation)).await
    }

    /// The rows of a relation, as `show(truncate=False)` prints them.
    async fn shown(&self, relation: &proto::Relation) -> String {
        self.plan(relation).await.unwrap().show_string(100, 0).await.unwrap()
    }
}

impl Resources for Client {
    fn session(&self) -> &Session {
        &self.session
    }

    fn artifact(&self, hash: &str) -> Option<Bytes> {
        self.blocks.get(hash).cloned()
    }

    fn remote_relation(&self, id: &str) -> Option<DataFrame> {
        (id == "kept").then(|| DataFrame::range(&self.session, 0, 2, 1).unwrap())
    }

    fn persisted(&self, _: &proto::Relation) -> Option<Kept> {
        None
    }

    fn python_udf(&self, function: &proto::CommonInlineUserDefinedFunction, _: Vec<Expr>) -> Result<Expr> {
        unsupported(format!("the function {}", function.function_name))
    }

    fn rows_function(
        &self,
        function: &proto::CommonInlineUserDefinedFunction,
        inputs: Vec<GroupedInput>,
    ) -> Result<(Arc<dyn RowsFunction>, SchemaRef)> {
        use arrow::datatypes::{DataType, Field, Schema};
        let fields = [Field::new("rows", DataType::Int64, true), Field::new("keys", DataType::Utf8, true)];
        let output = Arc::new(Schema::new(fields.to_vec()));
        Ok((Arc::new(Described { name: function.function_name.clone(), inputs, output: output.clone() }), output))
    }
}

/// A function that tells, of each input, how many rows it was given and what its keys are called.
#[derive(Debug)]
struct Described {
    name: String,
    inputs: Vec<GroupedInput>,
    output: SchemaRef,
}

impl RowsFunction for Described {
    fn operation(&self) -> &'static str {
        "MapInPandas"
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn call(&self, inputs: &[Vec<arrow::array::RecordBatch>]) -> Result<Vec<arrow::array::RecordBatch>> {
        let rows = inputs.iter().map(|rows| rows.iter().map(|batch| batch.num_rows() as i64).sum::<i64>());
        let rows: arrow::array::Int64Array = rows.map(Some).collect();
        let keys = self.inputs.iter().map(|input| {
            let of = |columns: &[usize]| -> Vec<String> {
                columns.iter().map(|at| input.schema.field(*at).name().clone()).collect()
            };
            Some(format!("{} by {}", of(&input.values).join(","), of(&input.keys).join(",")))
        });
        let keys: arrow::array::StringArray = keys.collect();
        Ok(vec![arrow::array::RecordBatch::try_new(self.output.clone(), vec![Arc::new(rows), Arc::new(keys)])?])
    }
}

macro_rules! fixture {
    ($name:literal) => {
        proto::Relation::decode(include_bytes!(concat!("fixtures/", $name, ".bin")).as_slice()).unwrap()
    };
}

fn relation(kind: RelType) -> proto::Relation {
    proto::Relation { common: None, rel_type: Some(kind) }
}

fn expression(kind: ExprType) -> proto::Expression {
    proto::Expression { common: None, expr_type: Some(kind) }
}

fn named(name: &str) -> proto::Expression {
    let attribute =
        proto::expression::UnresolvedAttribute { unparsed_identifier: name.to_string(), ..Default::default() };
    expression(ExprType::UnresolvedAttribute(attribute))
}

fn constant(kind: LiteralType) -> proto::Expression {
    expression(ExprType::Literal(Literal { literal_type: Some(kind), data_type: None }))
}

fn call(name: &str, arguments: Vec<proto::Expression>) -> proto::Expression {
    let call =
        proto::expression::UnresolvedFunction { function_name: name.to_string(), arguments, ..Default::default() };
    expression(ExprType::UnresolvedFunction(call))
}

fn range(end: i64) -> proto::Relation {
    relation(RelType::Range(proto::Range { start: None, end, step: 1, num_partitions: None }))
}

fn project(input: proto::Relation, expressions: Vec<proto::Expression>) -> proto::Relation {
    relation(RelType::Project(Box::new(proto::Project { input: Some(Box::new(input)), expressions })))
}

fn query(text: &str) -> proto::Relation {
    relation(RelType::Sql(proto::Sql { query: text.to_string(), ..Default::default() }))
}

fn show(input: proto::Relation, num_rows: i32, truncate: i32, vertical: bool) -> proto::Relation {
    let input = Some(Box::new(input));
    relation(RelType::ShowString(Box::new(proto::ShowString { input, num_rows, truncate, vertical })))
}

async fn text(client: &Client, relation: &proto::Relation) -> String {
    let batches = client.plan(relation).await.unwrap().collect().await.unwrap();
    batches[0].column(0).as_any().downcast_ref::<arrow::array::StringArray>().unwrap().value(0).to_string()
}

#[tokio::test]
async fn selections_of_the_client() {
    let client = Client::new().await;
    assert_eq!(
        client.shown(&fixture!("select")).await,
        "\
+----+---+----+----+---+-------+----+---+----------+----+------+
|city|d  |t   |k   |s  |st     |z   |e  |dt        |dec |arr   |
+----+---+----+----+---+-------+----+---+----------+----+------+
|sf  |3.0|a   |7   |1  |{sf, 1}|NULL|2  |2024-01-02|1.50|[1, 2]|
|la  |0.0|NULL|NULL|2  |{la, 2}|NULL|3  |2024-01-02|1.50|[1, 2]|
+----+---+----+----+---+-------+----+---+----------+----+------+
"
    );
    assert_eq!(
        client.shown(&fixture!("stars")).await,
        "+-----+\n|place|\n+-----+\n|sf   |\n|la   |\n|x    |\n+-----+\n"
    );
    assert_eq!(
        client.shown(&fixture!("fields")).await,
        "+----------+\n|st        |\n+----------+\n|{{1.5, 1}}|\n+----------+\n"
    );
    assert_eq!(
        client.shown(&fixture!("json")).await,
        "\
+----+-------------------+----------+
|id  |at                 |back      |
+----+-------------------+----------+
|a   |2024-01-01 00:00:01|{\"id\":\"a\"}|
|NULL|NULL               |{}        |
+----+-------------------+----------+
"
    );
}

#[tokio::test]
async fn groups_joins_and_unions_of_the_client() {
    let client = Client::new().await;
    assert_eq!(
        client.shown(&fixture!("group")).await,
        "\
+---+---+---+---+
|c  |s  |c2 |u  |
+---+---+---+---+
|LA |2  |1  |0  |
|SF |1  |1  |1  |
|X  |3  |1  |1  |
+---+---+---+---+
"
    );
    assert_eq!(
        client.shown(&fixture!("join_using")).await,
        "+----+-----+\n|city|state|\n+----+-----+\n|la  |CA   |\n|sf  |CA   |\n|x   |NULL |\n+----+-----+\n"
    );
    assert_eq!(
        client.shown(&fixture!("join_condition")).await,
        "+----+-----+\n|city|state|\n+----+-----+\n|la  |CA   |\n|sf  |CA   |\n+----+-----+\n"
    );
    assert_eq!(
        client.shown(&fixture!("join_columns")).await,
        "+----+----+\n|city|n   |\n+----+----+\n|la  |2   |\n|ny  |NULL|\n|sf  |1   |\n+----+----+\n"
    );
    assert_eq!(
        client.shown(&fixture!("union")).await,
        "+----+---+\n|city|n  |\n+----+---+\n|CA  |5  |\n|NY  |5  |\n+----+---+\n"
    );
}

#[tokio::test]
async fn a_stream_of_the_client_keeps_its_watermark() {
    let client = Client::new().await;
    let frame = client.plan(&fixture!("stream")).await.unwrap();
    assert!(frame.is_streaming());
    let names: Vec<&str> = frame.schema().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["window", "odd", "n", "u"]);
    let window = types::field_to_proto(frame.schema().field(0));
    assert_eq!(window.metadata.as_deref(), Some("{\"spark.watermarkDelayMs\":600000,\"spark.timeWindow\":true}"));
}

#[test]
fn a_plan_may_be_deep() {
    // Messages are decoded by recursion, so a server's threads have a stack that is larger than a test's.
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(|| {
        tokio::runtime::Builder::new_current_thread()
            .thread_stack_size(64 << 20)
            .enable_all()
            .build()
            .unwrap()
            .block_on(async {
                let client = Client::new().await;
                assert_eq!(
                    client.shown(&fixture!("deep")).await,
                    "\
+---+---+---+---+
|id |c0 |c1 |c2 |
+---+---+---+---+
|0  |57 |58 |59 |
|1  |58 |59 |60 |
|2  |59 |60 |61 |
+---+---+---+---+
"
                );
                let mut sum = named("id");
                for _ in 0..60 {
                    sum = call("+", vec![sum, constant(LiteralType::Integer(1))]);
                }
                let sum =
                    proto::expression::Alias { expr: Some(Box::new(sum)), name: vec!["n".to_string()], metadata: None };
                let plan = project(range(1), vec![expression(ExprType::Alias(Box::new(sum)))]);
                assert_eq!(client.shown(&plan).await, "+---+\n|n  |\n+---+\n|60 |\n+---+\n");
            });
    });
    thread.unwrap().join().unwrap();
}

#[tokio::test]
async fn names_of_columns_are_spark_s() {
    let client = Client::new().await;
    let one = || constant(LiteralType::Integer(1));
    let cast = |to: &str| {
        let to = proto::expression::cast::CastToType::TypeStr(to.to_string());
        let cast = proto::expression::Cast { expr: Some(Box::new(named("id"))), eval_mode: 0, cast_to_type: Some(to) };
        expression(ExprType::Cast(Box::new(cast)))
    };
    let plan = project(
        range(2),
        vec![
            call("+", vec![named("id"), one()]),
            call("not", vec![call("==", vec![named("id"), one()])]),
            call("isNull", vec![named("id")]),
            call("in", vec![named("id"), one(), constant(LiteralType::Integer(2))]),
            call("when", vec![call(">", vec![named("id"), one()]), constant(LiteralType::Double(1.0)), one()]),
            call("and", vec![call("<=>", vec![named("id"), one()]), constant(LiteralType::Boolean(true))]),
            cast("string"),
            call("upper", vec![cast("string")]),
            call("concat", vec![cast("string"), constant(LiteralType::String("x".into()))]),
            constant(LiteralType::Date(19724)),
            call("array", vec![named("id"), one()]),
        ],
    );
    let frame = client.plan(&plan).await.unwrap();
    let names: Vec<&str> = frame.schema().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(
        names,
        [
            "(id + 1)",
            "(NOT (id = 1))",
            "(id IS NULL)",
            "(id IN (1, 2))",
            "CASE WHEN (id > 1) THEN 1.0 ELSE 1 END",
            "((id <=> 1) AND true)",
            "id",
            "upper(CAST(id AS STRING))",
            "concat(CAST(id AS STRING), x)",
            "DATE '2024-01-02'",
            "array(id, 1)",
        ]
    );
    let plan = project(
        range(3),
        vec![
            call("sum", vec![call("*", vec![named("id"), constant(LiteralType::Integer(2))])]),
            call("count", vec![one()]),
        ],
    );
    assert_eq!(
        client.shown(&plan).await,
        "+-------------+--------+\n|sum((id * 2))|count(1)|\n+-------------+--------+\n|6            |3       |\n+-------------+--------+\n"
    );
}

#[tokio::test]
async fn texts_of_show() {
    let client = Client::new().await;
    assert_eq!(
        text(&client, &show(range(3), 2, 20, false)).await,
        "+---+\n| id|\n+---+\n|  0|\n|  1|\n+---+\nonly showing top 2 rows"
    );
    assert_eq!(
        text(&client, &show(query("SELECT 'a long text' AS name, 1 AS n"), 20, 6, true)).await,
        "-RECORD 0------\n name | a l... \n n    | 1      \n"
    );
    assert_eq!(text(&client, &show(range(0), 20, 20, true)).await, "(0 rows)\n");
    let input = Some(Box::new(query("SELECT '<b>' AS tag")));
    let html = relation(RelType::HtmlString(Box::new(proto::HtmlString { input, num_rows: 20, truncate: 20 })));
    assert_eq!(
        text(&client, &html).await,
        "<table border='1'>\n<tr><th>tag</th></tr>\n<tr><td>&lt;b&gt;</td></tr>\n</table>\n"
    );
}

#[tokio::test]
async fn rows_that_were_sent_before() {
    let mut client = Client::new().await;
    let RelType::LocalRelation(rows) = ({
        let mut inner = fixture!("group");
        loop {
            inner = match inner.rel_type.unwrap() {
                RelType::Sort(sort) => *sort.input.unwrap(),
                RelType::Aggregate(aggregate) => *aggregate.input.unwrap(),
                other => break other,
            };
        }
    }) else {
        panic!("the fixture begins with local rows")
    };
    client.blocks.insert("rows".into(), rows.data.clone().unwrap());
    client.blocks.insert("schema".into(), rows.schema.clone().unwrap().into_bytes().into());
    client.blocks.insert("all".into(), rows.encode_to_vec().into());
    let chunked = proto::ChunkedCachedLocalRelation {
        data_hashes: vec!["rows".into(), "rows".into()],
        schema_hash: Some("schema".into()),
    };
    let frame = client.plan(&relation(RelType::ChunkedCachedLocalRelation(chunked))).await.unwrap();
    assert_eq!(frame.count().await.unwrap(), 6);
    let whole = relation(RelType::CachedLocalRelation(proto::CachedLocalRelation { hash: "all".into() }));
    assert_eq!(client.plan(&whole).await.unwrap().schema(), frame.schema());
    let missing = relation(RelType::CachedLocalRelation(proto::CachedLocalRelation { hash: "none".into() }));
    assert!(client.plan(&missing).await.unwrap_err().message().contains("none"));
    let kept = relation(RelType::CachedRemoteRelation(proto::CachedRemoteRelation { relation_id: "kept".into() }));
    assert_eq!(client.plan(&kept).await.unwrap().count().await.unwrap(), 2);
    let schema = proto::LocalRelation { data: None, schema: Some("a INT, b ARRAY<STRING>".into()) };
    assert_eq!(
        client.shown(&relation(RelType::LocalRelation(schema))).await,
        "+---+---+\n|a  |b  |\n+---+---+\n+---+---+\n"
    );
}

#[tokio::test]
async fn sql_with_arguments_and_frames() {
    let client = Client::new().await;
    let text = "SELECT id, :word AS w FROM range_of WHERE id >= :least";
    let named_arguments = [
        ("word".to_string(), constant(LiteralType::String("it's".into()))),
        ("least".to_string(), constant(LiteralType::Long(1))),
    ];
    let mut sql = query(text);
    if let Some(RelType::Sql(sql)) = &mut sql.rel_type {
        sql.named_arguments = named_arguments.into();
    }
    let view = proto::SubqueryAlias { input: Some(Box::new(range(3))), alias: "range_of".into(), qualifier: vec![] };
    let mut view = relation(RelType::SubqueryAlias(Box::new(view)));
    view.common = Some(proto::RelationCommon { plan_id: Some(7), ..Default::default() });
    let with = proto::WithRelations { root: Some(Box::new(sql)), references: vec![view] };
    let with = relation(RelType::WithRelations(Box::new(with)));
    assert_eq!(client.shown(&with).await, "+---+----+\n|id |w   |\n+---+----+\n|1  |it's|\n|2  |it's|\n+---+----+\n");
    let error = client.plan(&query("SELECT * FROM range_of")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::TableNotFound);
    let mut sql = query("SELECT ? + ? AS sum, ? AS at");
    if let Some(RelType::Sql(sql)) = &mut sql.rel_type {
        sql.pos_arguments = vec![
            constant(LiteralType::Double(1.5)),
            constant(LiteralType::Integer(-1)),
            constant(LiteralType::Timestamp(1_500_000)),
        ];
    }
    assert_eq!(
        client.shown(&sql).await,
        "+---+---------------------+\n|sum|at                   |\n+---+---------------------+\n|0.5|1970-01-01 00:00:01.5|\n+---+---------------------+\n"
    );
}

#[tokio::test]
async fn the_catalog_answers() {
    use proto::catalog::CatType;
    let client = Client::new().await;
    DataFrame::range(&client.session, 0, 3, 1).unwrap().create_or_replace_temp_view("Numbers").unwrap();
    let ask = |kind: CatType| relation(RelType::Catalog(proto::Catalog { cat_type: Some(kind) }));
    let tables = ask(CatType::ListTables(proto::ListTables { db_name: None, pattern: Some("num*".into()) }));
    assert_eq!(
        client.shown(&tables).await,
        "\
+-------+-------+---------+-----------+---------+-----------+
|name   |catalog|namespace|description|tableType|isTemporary|
+-------+-------+---------+-----------+---------+-----------+
|Numbers|NULL   |NULL     |NULL       |TEMPORARY|true       |
+-------+-------+---------+-----------+---------+-----------+
"
    );
    let columns = ask(CatType::ListColumns(proto::ListColumns { table_name: "numbers".into(), db_name: None }));
    let batches = client.plan(&columns).await.unwrap().collect().await.unwrap();
    assert!(pretty_format_batches(&batches).unwrap().to_string().contains("| id   |             | bigint   |"));
    let exists = |name: &str| ask(CatType::TableExists(proto::TableExists { table_name: name.into(), db_name: None }));
    assert!(client.shown(&exists("default.numbers")).await.contains("|true |"));
    let of = "numbers".to_string();
    let is_cached = ask(CatType::IsCached(proto::IsCached { table_name: of.clone() }));
    let cache = ask(CatType::CacheTable(proto::CacheTable { table_name: of.clone(), storage_level: None }));
    let uncache = ask(CatType::UncacheTable(proto::UncacheTable { table_name: of }));
    for (command, kept) in [(None, "false"), (Some(&cache), "true"), (Some(&uncache), "false")] {
        if let Some(command) = command {
            client.plan(command).await.unwrap();
        }
        let shown = client.plan(&is_cached).await.unwrap().show_string(20, 20).await.unwrap();
        assert!(shown.contains(kept), "{shown}");
    }
    let dropped = ask(CatType::DropTempView(proto::DropTempView { view_name: "numbers".into() }));
    assert!(client.shown(&dropped).await.contains("|true |"));
    assert!(client.shown(&exists("numbers")).await.contains("|false|"));
    let database = ask(CatType::SetCurrentDatabase(proto::SetCurrentDatabase { db_name: "other".into() }));
    assert_eq!(client.plan(&database).await.unwrap_err().code(), ErrorCode::TableNotFound);
}

#[tokio::test]
async fn what_cannot_run_is_refused_by_its_name() {
    let client = Client::new().await;
    let refused = |error: Error, name: &str| {
        assert_eq!(error.code(), ErrorCode::UnsupportedOperation, "{error}");
        assert!(error.message().contains(name), "{error}");
    };
    let stateful = relation(RelType::ApplyInPandasWithState(Box::default()));
    refused(client.plan(&stateful).await.unwrap_err(), "applyInPandasWithState");
    let udf = proto::CommonInlineUserDefinedFunction { function_name: "twice".into(), ..Default::default() };
    let plan = project(range(1), vec![expression(ExprType::CommonInlineUserDefinedFunction(udf))]);
    refused(client.plan(&plan).await.unwrap_err(), "twice");
    let error = client.plan(&project(range(1), vec![named("idd")])).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnresolvedColumn);
    assert!(error.message().contains("`id`"), "{error}");
    let error = client.plan(&project(range(1), vec![call("uper", vec![named("id")])])).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnresolvedRoutine);
    let attribute = proto::expression::UnresolvedAttribute {
        unparsed_identifier: "id".into(),
        plan_id: Some(99),
        is_metadata_column: None,
    };
    let error = client.plan(&project(range(1), vec![expression(ExprType::UnresolvedAttribute(attribute))])).await;
    assert_eq!(error.unwrap_err().code(), ErrorCode::DataFrameColumn);
    let negative = proto::Limit { input: Some(Box::new(range(1))), limit: -1 };
    let error = client.plan(&relation(RelType::Limit(Box::new(negative)))).await.unwrap_err();
    assert_eq!((error.code(), error.parameter("v")), (ErrorCode::NegativeLimit, Some("-1")));
    let half = relation(RelType::Filter(Box::new(proto::Filter { input: None, condition: None })));
    assert_eq!(client.plan(&half).await.unwrap_err().code(), ErrorCode::InvalidExpression);
}

#[tokio::test]
async fn literals_come_back_as_they_were() {
    let list = LiteralType::Array(proto::expression::literal::Array {
        elements: vec![
            Literal { literal_type: Some(LiteralType::Integer(1)), data_type: None },
            Literal { literal_type: Some(LiteralType::Null(Default::default())), data_type: None },
        ],
        ..Default::default()
    });
    let decimal = |value: &str, precision, scale| {
        LiteralType::Decimal(proto::expression::literal::Decimal { value: value.into(), precision, scale })
    };
    for (kind, shown) in [
        (LiteralType::Byte(-1), "-1"),
        (decimal("1.50", None, None), "1.50"),
        (decimal("-1E+2", Some(10), Some(0)), "-100"),
        (decimal("0.001", Some(10), Some(0)), "0.001"),
        (list, "[1, NULL]"),
        (LiteralType::Timestamp(1_000_000), "1970-01-01 00:00:01"),
        (LiteralType::Binary(vec![1, 255].into()), "[01 FF]"),
        (LiteralType::Float(1.5), "1.5"),
    ] {
        let value = literal::scalar(&Literal { literal_type: Some(kind), data_type: None }).unwrap();
        let client = Client::new().await;
        let frame = DataFrame::range(&client.session, 0, 1, 1).unwrap();
        let frame = frame.select([Column::from(Expr::Literal(value.clone(), None)).alias("v")]).unwrap();
        let text = frame.show_string(1, 0).await.unwrap();
        assert_eq!(text.lines().nth(3).unwrap().trim_matches('|').trim(), shown);
        assert_eq!(literal::scalar(&literal::to_proto(&value).unwrap()).unwrap(), value);
    }
    let outside = Literal { literal_type: Some(LiteralType::Byte(300)), data_type: None };
    assert_eq!(literal::scalar(&outside).unwrap_err().code(), ErrorCode::InvalidExpression);
}

#[tokio::test]
async fn groupings_windows_and_missing_values() {
    use proto::aggregate::{GroupType, Pivot};
    let client = Client::new().await;
    let sales = || query("SELECT * FROM VALUES ('a', 'x', 1), ('a', 'y', 2), ('b', 'x', NULL) AS t(k, v, n)");
    let sum = || vec![call("sum", vec![named("n")])];
    let aggregate = |group_type: GroupType, keys: &[&str], pivot: Option<Pivot>| {
        let order =
            |name: &str| proto::expression::SortOrder { child: Some(Box::new(named(name))), ..Default::default() };
        let aggregate = relation(RelType::Aggregate(Box::new(proto::Aggregate {
            input: Some(Box::new(sales())),
            group_type: group_type.into(),
            grouping_expressions: keys.iter().map(|key| named(key)).collect(),
            aggregate_expressions: sum(),
            pivot,
            grouping_sets: vec![],
        })));
        let order = keys.iter().map(|key| order(key)).collect();
        relation(RelType::Sort(Box::new(proto::Sort {
            input: Some(Box::new(aggregate)),
            order,
            is_global: Some(true),
        })))
    };
    assert_eq!(
        client.shown(&aggregate(GroupType::Rollup, &["k"], None)).await,
        "+----+------+\n|k   |sum(n)|\n+----+------+\n|NULL|3     |\n|a   |3     |\n|b   |NULL  |\n+----+------+\n"
    );
    let pivot = Pivot { col: Some(named("v")), values: vec![] };
    assert_eq!(
        client.shown(&aggregate(GroupType::Pivot, &["k"], Some(pivot))).await,
        "+---+----+----+\n|k  |x   |y   |\n+---+----+----+\n|a  |1   |2   |\n|b  |NULL|NULL|\n+---+----+----+\n"
    );
    let window = proto::expression::Window {
        window_function: Some(Box::new(call("row_number", vec![]))),
        partition_spec: vec![named("k")],
        order_spec: vec![proto::expression::SortOrder {
            child: Some(Box::new(named("v"))),
            direction: proto::expression::sort_order::SortDirection::Descending.into(),
            ..Default::default()
        }],
        frame_spec: None,
    };
    let place = proto::expression::Alias {
        expr: Some(Box::new(expression(ExprType::Window(Box::new(window))))),
        name: vec!["place".into()],
        metadata: None,
    };
    let placed = project(sales(), vec![named("v"), named("k"), expression(ExprType::Alias(Box::new(place)))]);
    let order = |name: &str| proto::expression::SortOrder { child: Some(Box::new(named(name))), ..Default::default() };
    let sorted =
        proto::Sort { input: Some(Box::new(placed)), order: vec![order("k"), order("place")], is_global: Some(true) };
    assert_eq!(
        client.shown(&relation(RelType::Sort(Box::new(sorted)))).await,
        "+---+---+-----+\n|v  |k  |place|\n+---+---+-----+\n|y  |a  |1    |\n|x  |a  |2    |\n|x  |b  |1    |\n+---+---+-----+\n"
    );
    let zero = Literal { literal_type: Some(LiteralType::Long(0)), data_type: None };
    let fill = proto::NaFill { input: Some(Box::new(sales())), cols: vec![], values: vec![zero] };
    assert_eq!(
        client.shown(&relation(RelType::FillNa(Box::new(fill)))).await,
        "+---+---+---+\n|k  |v  |n  |\n+---+---+---+\n|a  |x  |1  |\n|a  |y  |2  |\n|b  |x  |0  |\n+---+---+---+\n"
    );
    let drop = proto::NaDrop { input: Some(Box::new(sales())), cols: vec![], min_non_nulls: None };
    assert_eq!(client.plan(&relation(RelType::DropNa(Box::new(drop)))).await.unwrap().count().await.unwrap(), 2);
    let except = proto::SetOperation {
        left_input: Some(Box::new(sales())),
        right_input: Some(Box::new(query("SELECT 'b', 'x', CAST(NULL AS INT)"))),
        set_op_type: proto::set_operation::SetOpType::Except.into(),
        is_all: Some(true),
        ..Default::default()
    };
    assert_eq!(client.plan(&relation(RelType::SetOp(Box::new(except)))).await.unwrap().count().await.unwrap(), 2);
}

#[tokio::test]
async fn a_sort_may_use_what_a_selection_has_left_out() {
    let client = Client::new().await;
    let mut numbers = query("SELECT * FROM VALUES (1, 30), (2, 10), (3, 20) AS t(id, fare)");
    numbers.common = Some(proto::RelationCommon { plan_id: Some(1), ..Default::default() });
    let of_frame = |name: &str| {
        let attribute = proto::expression::UnresolvedAttribute {
            unparsed_identifier: name.into(),
            plan_id: Some(1),
            is_metadata_column: None,
        };
        expression(ExprType::UnresolvedAttribute(attribute))
    };
    let kept = proto::Filter {
        input: Some(Box::new(project(numbers, vec![named("id")]))),
        condition: Some(call(">", vec![named("fare"), constant(LiteralType::Integer(10))])),
    };
    let order = proto::expression::SortOrder { child: Some(Box::new(of_frame("fare"))), ..Default::default() };
    let kept = project(relation(RelType::Filter(Box::new(kept))), vec![named("id")]);
    assert_eq!(client.shown(&kept).await, "+---+\n|id |\n+---+\n|1  |\n|3  |\n+---+\n");
    let numbers = query("SELECT * FROM VALUES (1, 30), (2, 10), (3, 20) AS t(id, fare)");
    let numbers =
        proto::Relation { common: Some(proto::RelationCommon { plan_id: Some(1), ..Default::default() }), ..numbers };
    let sort = proto::Sort {
        input: Some(Box::new(project(numbers, vec![named("id")]))),
        order: vec![order],
        is_global: Some(true),
    };
    assert_eq!(
        client.shown(&relation(RelType::Sort(Box::new(sort)))).await,
        "+---+\n|id |\n+---+\n|2  |\n|3  |\n|1  |\n+---+\n"
    );
}

#[tokio::test]
async fn functions_of_functions() {
    let client = Client::new().await;
    let variable = |name: &str| proto::expression::UnresolvedNamedLambdaVariable { name_parts: vec![name.into()] };
    let body = call("+", vec![expression(ExprType::UnresolvedNamedLambdaVariable(variable("x_0"))), named("n")]);
    let lambda = proto::expression::LambdaFunction { function: Some(Box::new(body)), arguments: vec![variable("x_0")] };
    let transform = call("transform", vec![named("a"), expression(ExprType::LambdaFunction(Box::new(lambda)))]);
    let alias = proto::expression::Alias { expr: Some(Box::new(transform)), name: vec!["b".into()], metadata: None };
    let plan = project(query("SELECT array(1, 2) AS a, 10 AS n"), vec![expression(ExprType::Alias(Box::new(alias)))]);
    assert_eq!(client.shown(&plan).await, "+--------+\n|b       |\n+--------+\n|[11, 12]|\n+--------+\n");
}

#[tokio::test]
async fn functions_over_the_rows_of_relations() {
    let client = Client::new().await;
    let pair = || query("SELECT * FROM VALUES ('a', 1), ('b', 2), ('a', 3) AS t(k, v)");
    let func = Some(proto::CommonInlineUserDefinedFunction { function_name: "f".to_string(), ..Default::default() });
    let map = proto::MapPartitions { input: Some(Box::new(pair())), func: func.clone(), ..Default::default() };
    let map = relation(RelType::MapPartitions(Box::new(map)));
    let shown = "+----+-------+\n|rows|keys   |\n+----+-------+\n|3   |k,v by |\n+----+-------+\n";
    assert_eq!(client.shown(&map).await, shown);
    // What it makes is a relation as others are, and of no rows it makes none.
    let of_none = range(0);
    let none = proto::MapPartitions { input: Some(Box::new(of_none)), func: func.clone(), ..Default::default() };
    let none = relation(RelType::MapPartitions(Box::new(none)));
    assert_eq!(client.plan(&none).await.unwrap().count().await.unwrap(), 0);
    let frame = client.plan(&project(map, vec![named("keys")])).await.unwrap();
    assert_eq!(frame.show_string(1, 0).await.unwrap(), "+-------+\n|keys   |\n+-------+\n|k,v by |\n+-------+\n");
    assert!(frame.explain().await.unwrap().contains("MapInPandas f, [rows, keys]"));
    let doubled = call("+", vec![named("v"), named("v")]);
    let group = proto::GroupMap {
        input: Some(Box::new(pair())),
        grouping_expressions: vec![named("k"), doubled],
        func: func.clone(),
        ..Default::default()
    };
    let rows = text(&client, &project(relation(RelType::GroupMap(Box::new(group))), vec![named("keys")])).await;
    assert_eq!(rows, "k,v by k,(v + v)");
    let cogroup = proto::CoGroupMap {
        input: Some(Box::new(pair())),
        other: Some(Box::new(range(5))),
        input_grouping_expressions: vec![named("v")],
        other_grouping_expressions: vec![named("id")],
        func: func.clone(),
        ..Default::default()
    };
    let shown = "\
+----+--------+
|rows|keys    |
+----+--------+
|3   |k,v by v|
|5   |id by id|
+----+--------+
";
    assert_eq!(client.shown(&relation(RelType::CoGroupMap(Box::new(cogroup)))).await, shown);
    let stateful = proto::GroupMap {
        input: Some(Box::new(pair())),
        func,
        transform_with_state_info: Some(proto::TransformWithStateInfo::default()),
        ..Default::default()
    };
    let refused = client.plan(&relation(RelType::GroupMap(Box::new(stateful)))).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::UnsupportedOperation);
    assert!(refused.message().contains("transformWithState"), "{refused}");
}

#[tokio::test]
async fn metadata_of_columns() {
    let client = Client::new().await;
    let described = |metadata: &str| {
        let alias = proto::expression::Alias {
            expr: Some(Box::new(named("id"))),
            name: vec!["n".to_string()],
            metadata: Some(metadata.to_string()),
        };
        project(range(3), vec![expression(ExprType::Alias(Box::new(alias)))])
    };
    let frame = client.plan(&described("{\"unit\": \"km\", \"of\": [1, 2]}")).await.unwrap();
    let kept = frame.filter(crate::frame::functions::col("n").gt(0)).unwrap();
    let counted = kept.group_by(["n"]).unwrap().count().unwrap();
    for (frame, rows) in [(&frame, 3), (&kept, 2), (&counted, 2)] {
        let field = types::field_to_proto(frame.schema().field(0));
        assert_eq!(field.metadata.as_deref(), Some("{\"unit\":\"km\",\"of\":[1,2]}"));
        assert_eq!(frame.count().await.unwrap(), rows);
    }
    let refused = client.plan(&described("[1]")).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidParameterValue);
}

#[tokio::test]
async fn texts_without_a_schema() {
    let client = Client::new().await;
    let parse = |texts: &str, format: proto::parse::ParseFormat, options: &[(&str, &str)]| {
        let options = options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let input = Some(Box::new(query(&format!("SELECT * FROM VALUES {texts} AS t(value)"))));
        relation(RelType::Parse(Box::new(proto::Parse { input, format: format as i32, schema: None, options })))
    };
    let json = parse("('{\"a\": 1, \"b\": \"x\"}'), ('{\"a\": 2.5}')", proto::parse::ParseFormat::Json, &[]);
    assert_eq!(client.shown(&json).await, "+---+----+\n|a  |b   |\n+---+----+\n|1.0|x   |\n|2.5|NULL|\n+---+----+\n");
    let csv = parse(
        "('n,s'), ('1,x'), ('2,y')",
        proto::parse::ParseFormat::Csv,
        &[("header", "true"), ("inferSchema", "true")],
    );
    let frame = client.plan(&csv).await.unwrap();
    assert_eq!(*frame.schema().field(0).data_type(), arrow::datatypes::DataType::Int32);
    assert_eq!(
        frame.show_string(9, 0).await.unwrap(),
        "+---+---+\n|n  |s  |\n+---+---+\n|1  |x  |\n|2  |y  |\n+---+---+\n"
    );
}

/// A relation with a number, by which expressions mention it.
fn numbered(relation: proto::Relation, plan_id: i64) -> proto::Relation {
    proto::Relation { common: Some(proto::RelationCommon { plan_id: Some(plan_id), ..Default::default() }), ..relation }
}

fn mentions(
    plan_id: i64,
    kind: proto::subquery_expression::SubqueryType,
    values: Vec<proto::Expression>,
) -> proto::Expression {
    let subquery_type = kind as i32;
    let subquery =
        proto::SubqueryExpression { plan_id, subquery_type, in_subquery_values: values, ..Default::default() };
    expression(ExprType::SubqueryExpression(subquery))
}

fn with(root: proto::Relation, references: Vec<proto::Relation>) -> proto::Relation {
    relation(RelType::WithRelations(Box::new(proto::WithRelations { root: Some(Box::new(root)), references })))
}

fn filter(input: proto::Relation, condition: proto::Expression) -> proto::Relation {
    relation(RelType::Filter(Box::new(proto::Filter { input: Some(Box::new(input)), condition: Some(condition) })))
}

const DEPTS: &str = "SELECT * FROM VALUES (10, 'ops'), (20, 'dev'), (30, 'hr') AS d(dept, title)";
const STAFF: &str =
    "SELECT * FROM VALUES ('ann', 10, 1), ('bob', 20, 2), ('cid', NULL, 3), ('dan', 10, 4) AS s(name, place, age)";

#[tokio::test]
async fn frames_as_values() {
    use proto::subquery_expression::SubqueryType::{Exists, In, Scalar};
    let client = Client::new().await;
    // The second frame mentions the column of the first, which it has not.
    let of_dept = || filter(query(STAFF), call("==", vec![named("place"), named("dept")]));
    let titles = async |condition: proto::Expression, inner: proto::Relation| {
        let root = filter(query(DEPTS), condition);
        let rows = client.plan(&with(root, vec![numbered(inner, 7)])).await?;
        assert_eq!(rows.schema().fields().len(), 2);
        Ok::<_, Error>(rows.select(["title"])?.show_string(9, 0).await?.replace("\n|", " ").replace('|', ""))
    };
    let head = "+-----+ title\n+-----+ ";
    let exists = mentions(7, Exists, vec![]);
    assert_eq!(titles(exists.clone(), of_dept()).await.unwrap(), format!("{head}ops   dev  \n+-----+\n"));
    let none = call("not", vec![exists.clone()]);
    assert_eq!(titles(none, of_dept()).await.unwrap(), format!("{head}hr   \n+-----+\n"));
    // Of no rows, a count is 0.
    let count = project(of_dept(), vec![call("count", vec![named("name")])]);
    let one = call("==", vec![mentions(7, Scalar, vec![]), constant(LiteralType::Long(0))]);
    assert_eq!(titles(one, count).await.unwrap(), format!("{head}hr   \n+-----+\n"));
    // A row without a place leaves open who is in none.
    let places = || project(query(STAFF), vec![named("place")]);
    let found = mentions(7, In, vec![named("dept")]);
    assert_eq!(titles(found.clone(), places()).await.unwrap(), format!("{head}ops   dev  \n+-----+\n"));
    let open = call("not", vec![found]);
    assert_eq!(titles(open, places()).await.unwrap(), "+-----+ title\n+-----+\n+-----+\n");
    // A value is one value.
    let names = project(of_dept(), vec![named("name")]);
    let several = call("==", vec![mentions(7, Scalar, vec![]), named("title")]);
    assert_eq!(titles(several.clone(), names).await.unwrap_err().code(), ErrorCode::ScalarSubqueryTooManyRows);
    assert_eq!(titles(several, query(STAFF)).await.unwrap_err().code(), ErrorCode::InvalidExpression);
    // Where it cannot stand, and what cannot be above it.
    let sort = proto::Sort {
        input: Some(Box::new(query(DEPTS))),
        order: vec![proto::expression::SortOrder {
            child: Some(Box::new(mentions(7, Exists, vec![]))),
            ..Default::default()
        }],
        is_global: Some(true),
    };
    let refused = client.plan(&with(relation(RelType::Sort(Box::new(sort))), vec![numbered(query(STAFF), 7)])).await;
    assert_eq!(refused.unwrap_err().code(), ErrorCode::UnsupportedOperation);
    let sampled = proto::Sample { input: Some(Box::new(of_dept())), upper_bound: 0.5, ..Default::default() };
    let refused = titles(exists, relation(RelType::Sample(Box::new(sampled)))).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::UnsupportedOperation);
}

#[tokio::test]
async fn rows_beside_each_row() {
    let client = Client::new().await;
    let of_dept = filter(query(STAFF), call("==", vec![named("place"), named("dept")]));
    let oldest = proto::Sort {
        input: Some(Box::new(project(of_dept, vec![named("name"), named("age")]))),
        order: vec![proto::expression::SortOrder {
            child: Some(Box::new(named("age"))),
            direction: proto::expression::sort_order::SortDirection::Descending as i32,
            ..Default::default()
        }],
        is_global: Some(true),
    };
    let oldest = relation(RelType::Sort(Box::new(oldest)));
    let first = relation(RelType::Limit(Box::new(proto::Limit { input: Some(Box::new(oldest)), limit: 1 })));
    let lateral = |join_type: proto::join::JoinType| {
        relation(RelType::LateralJoin(Box::new(proto::LateralJoin {
            left: Some(Box::new(query(DEPTS))),
            right: Some(Box::new(first.clone())),
            join_condition: None,
            join_type: join_type as i32,
        })))
    };
    let inner = client.plan(&lateral(proto::join::JoinType::Inner)).await.unwrap();
    let shown = "\
+----+-----+----+---+
|dept|title|name|age|
+----+-----+----+---+
|10  |ops  |dan |4  |
|20  |dev  |bob |2  |
+----+-----+----+---+
";
    let by_dept =
        |frame: DataFrame| frame.sort([crate::frame::functions::col("dept").0.unwrap().sort(true, true)]).unwrap();
    assert_eq!(by_dept(inner).show_string(9, 0).await.unwrap(), shown);
    let left = client.plan(&lateral(proto::join::JoinType::LeftOuter)).await.unwrap();
    let last = by_dept(left).show_string(9, 0).await.unwrap();
    assert!(last.ends_with("|30  |hr   |NULL|NULL|\n+----+-----+----+----+\n"), "{last}");
}

#[tokio::test]
async fn columns_that_are_not_null_and_intervals_keep_their_types() {
    let client = Client::new().await;
    let ddl = "a INT NOT NULL COMMENT 'the \\'key\\'', b STRING, d INTERVAL DAY TO SECOND, m INTERVAL YEAR TO MONTH, c VARCHAR(3)";
    let rows = relation(RelType::LocalRelation(proto::LocalRelation { data: None, schema: Some(ddl.into()) }));
    let frame = client.plan(&rows).await.unwrap();
    let types = |frame: &DataFrame| {
        let fields = frame.schema().fields().iter().map(|field| types::field_to_proto(field));
        fields.map(|field| (field.nullable, field.data_type.unwrap().kind.unwrap())).collect::<Vec<_>>()
    };
    let days = |start, end| {
        Kind::DayTimeInterval(proto::data_type::DayTimeInterval {
            start_field: Some(start),
            end_field: Some(end),
            ..Default::default()
        })
    };
    let months = Kind::YearMonthInterval(proto::data_type::YearMonthInterval {
        start_field: Some(0),
        end_field: Some(1),
        ..Default::default()
    });
    let string = Kind::String(Default::default());
    let expected = vec![
        (false, Kind::Integer(Default::default())),
        (true, string.clone()),
        (true, days(0, 3)),
        (true, months),
        (true, string),
    ];
    assert_eq!(types(&frame), expected);
    let (a, plus) = (crate::frame::functions::col("a"), crate::frame::functions::expr("a + 1"));
    let joined = frame.select([a.clone(), plus]).unwrap();
    assert_eq!(types(&joined).iter().map(|t| t.0).collect::<Vec<_>>(), [false, false]);
    // A row without a match is NULL on the other side.
    let right = client.plan(&range(3)).await.unwrap();
    let id = crate::frame::functions::col("id").cast("int");
    let joined = frame.select([a]).unwrap().join(
        &right.select([id.alias("i")]).unwrap(),
        crate::frame::functions::expr("a = i"),
        "left_outer",
    );
    assert_eq!(types(&joined.unwrap()).iter().map(|t| t.0).collect::<Vec<_>>(), [false, true]);
    let seconds = client.plan(&query("SELECT INTERVAL 90 MINUTES, INTERVAL '1 02' DAY TO HOUR")).await.unwrap();
    assert_eq!(types(&seconds), [(false, days(2, 2)), (false, days(0, 1))]);
    for refused in ["d INTERVAL HOUR", "d INTERVAL", "a INT COMMENT", "a INT NOT"] {
        let rows = proto::LocalRelation { data: None, schema: Some(refused.into()) };
        let error = client.plan(&relation(RelType::LocalRelation(rows))).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::ParseSyntaxError, "{refused}");
    }
}
