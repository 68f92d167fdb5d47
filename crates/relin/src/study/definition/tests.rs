//! What a study's file may say, and what is refused.

use super::*;

const TWO_AXES: &str = r#"
    title = "t"
    question = "q"
    base = "quickstart"
    seeds = [0, 1]
    baseline = { a = "x" }
    [set]
    train.steps = 5
    [[axis]]
    name = "a"
    values = [{ name = "x" }, { name = "y", set = { "train.beta1" = 0.8 } }]
    [[axis]]
    name = "b"
    values = [{ name = "1", set = { train.beta2 = 0.9 } }, { name = "2" }]
    [[exclude]]
    where = { a = "y", b = ["2"] }
    because = "no"
    [size.paper]
    seeds = [3]
    set = { "train.steps" = 7 }
"#;

fn parse(text: &str, size: &str) -> Result<Study, StudyError> {
    Study::parse("s.toml", text, size, None)
}

#[track_caller]
fn refused(text: &str, words: &[&str]) {
    let error = parse(text, SMALL).map(drop).unwrap_err();
    let said = error.to_string();
    assert!(words.iter().all(|word| said.contains(word)) && error.is_usage(), "{said}");
}

#[test]
fn axes_cross_and_cells_find_what_they_are_compared_with() {
    let study = parse(TWO_AXES, SMALL).unwrap();
    let names: Vec<String> = study.cells.iter().map(|cell| study.cell_name(cell)).collect();
    assert_eq!(names, ["x · 1", "x · 2", "y · 1", "y · 2"]);
    assert_eq!(study.baseline_of(&Cell(vec![1, 1])), Some(Cell(vec![0, 1])));
    assert_eq!(study.baseline_of(&Cell(vec![0, 1])), None);
    assert!(study.is_baseline(&Cell(vec![0, 1])) && !study.is_baseline(&Cell(vec![1, 0])));
    assert_eq!(study.excluded("quickstart", &Cell(vec![1, 1])), Some("no"));
    assert_eq!(study.excluded("quickstart", &Cell(vec![1, 0])), None);
    assert_eq!((study.name.as_str(), study.seeds.len()), ("s", 2));
}

#[test]
fn a_size_replaces_keys() {
    let study = parse(TWO_AXES, "paper").unwrap();
    assert_eq!(study.seeds, [3]);
    let steps: Vec<_> = study.settings.iter().filter_map(|set| set.value.as_integer()).collect();
    assert_eq!(steps, [7]);
    let error = parse(TWO_AXES, "huge").unwrap_err().to_string();
    assert!(error.contains("huge") && error.contains("small, paper"), "{error}");
}

#[test]
fn cells_may_be_listed() {
    let listed = TWO_AXES.replace("[set]", "cells = [[\"y\", \"1\"], [\"x\", \"1\"]]\n[set]");
    assert_eq!(parse(&listed, SMALL).unwrap().cells, [Cell(vec![1, 0]), Cell(vec![0, 0])]);
    refused(&listed.replace("[\"y\", \"1\"]", "[\"y\"]"), &["cells", "1 names for 2 axes"]);
    refused(&listed.replace("[\"y\", \"1\"]", "[\"x\", \"1\"]"), &["twice"]);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let shared = TWO_AXES.replace("train.beta2 = 0.9", "\"train.beta1\" = 0.9");
    refused(&shared, &["`a` and `b`", "train.beta1"]);
    let above = TWO_AXES.replace("\"train.beta1\" = 0.8", "\"model.position.basis\" = \"dct\"");
    let above = above.replace("train.beta2 = 0.9", "model.position = { type = \"lrpe\" }");
    refused(&above, &["`a` and `b`", "model.position"]);
    refused(&TWO_AXES.replace("seeds = [0, 1]", "seeds = []"), &["seeds", "none"]);
    refused(&TWO_AXES.replace("seeds = [0, 1]", "seeds = [1, 1]"), &["1 twice"]);
    refused(&TWO_AXES.replace("\"train.beta1\" = 0.8", "\"train.seed\" = 8"), &["train.seed"]);
    refused(
        &TWO_AXES.replace("baseline = { a = \"x\" }", "baseline = { a = \"z\" }"),
        &["`z`", "did you mean `x`"],
    );
    refused(&TWO_AXES.replace("baseline = { a = \"x\" }", "baseline = \"x\""), &["baseline"]);
    refused(&TWO_AXES.replace("a = \"y\", b", "c = \"y\", b"), &["no axis `c`"]);
    refused(&TWO_AXES.replace("base = \"quickstart\"", ""), &["[[task]]"]);
    refused(&TWO_AXES.replace("title", "titel"), &["titel", "line 2"]);
    refused("title = ", &["line 1"]);
    refused(&TWO_AXES.replace("[set]", "[budget]\nseconds = -1\n[set]"), &["budget.seconds", "-1"]);
}

#[test]
fn an_unknown_study_names_the_nearest() {
    let error = Study::find("bassis", SMALL).unwrap_err().to_string();
    assert!(error.contains("did you mean `basis`"), "{error}");
}
