use crate::harness::Bench;

#[test]
fn doctor_says_what_runs_and_why() {
    let bench = Bench::new();
    let said = bench.relin(&["doctor"]).exits(0);
    assert_eq!(said.out, "");
    for word in [env!("CARGO_PKG_VERSION"), "matrix products", "threads", "memory", "data folder", "writable"]
    {
        assert!(said.err.contains(word), "no {word} in {}", said.err);
    }
    assert_eq!(std::fs::read_dir(bench.path()).unwrap().count(), 0, "it leaves nothing behind");
}

#[test]
fn doctor_as_json_is_one_object() {
    let said = Bench::new().relin(&["doctor", "--json", "--threads", "3"]).exits(0);
    assert_eq!(said.err, "");
    let [found] = &said.json()[..] else { panic!("one line expected: {}", said.out) };
    assert_eq!(found["threads"], 3);
    assert_eq!(found["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(found["working_folder_writable"], true);
    let paths = found["paths"].as_array().unwrap();
    assert!(!paths.is_empty() && paths.iter().all(|path| path["why"].is_string()));
}
