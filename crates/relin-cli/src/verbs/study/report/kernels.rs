//! W(lag) of every encoding of a study, before training.

use relin::recipe::{ModelConfig, Position, Recipe};
use relin::study::{Plan, Work};
use relin_kernels::encoding::Place;
use relin_kernels::inspect::{BiasHead, Effective, Head, Probe, initial_parameters};

use super::{Figure, Section};
use crate::plot::{Chart, Line, Panel, Sheet, Style};

/// Lags on either side of 0.
const REACH: i64 = 64;
/// Random rows behind a curve.
const DRAWS: usize = 128;
/// More panels than this are no figure.
const MOST: usize = 32;

/// One encoding, and the cells that have it.
struct Kernel {
    names: Vec<String>,
    what: &'static str,
    curve: Vec<Effective>,
}

pub fn section(plan: &Plan) -> Option<Section> {
    let kernels = distinct(plan);
    if kernels.is_empty() {
        return None;
    }
    let left_out = kernels.len().saturating_sub(MOST);
    let sheet = Sheet {
        title: "W(lag) of every encoding".into(),
        subtitle:
            "mean score at each lag as a share of that without positions; the band holds 8 scores in 10"
                .into(),
        panels: kernels.iter().take(MOST).map(panel).collect(),
    };
    let mut words = vec!["What each encoding makes of the scores between random features, with the first seed, in layer 0 and head 0, as training begins. Encodings with the same curve share a panel.".to_owned()];
    if left_out > 0 {
        words.push(format!("{left_out} more encodings are not drawn."));
    }
    let caption =
        "Even curves cannot tell left from right; curves that return to 1 repeat; curves that fall forget."
            .into();
    let figures = vec![Figure { name: "kernels".into(), svg: sheet.svg(), caption }];
    Some(Section { title: "Encodings".into(), words, tables: Vec::new(), figures })
}

fn distinct(plan: &Plan) -> Vec<Kernel> {
    let seed = plan.study.seeds.first().copied().unwrap_or(0);
    let mut kernels: Vec<Kernel> = Vec::new();
    let mut seen: Vec<(Position, usize)> = Vec::new();
    for run in plan.runs.iter().filter(|run| run.seed == seed) {
        let Work::Train { recipe, .. } = &run.work else { continue };
        let own = (recipe.model.position.in_full(), recipe.model.position_dim());
        if seen.contains(&own) {
            continue;
        }
        seen.push(own);
        let Some((what, curve)) = curve(recipe) else { continue };
        let name = plan.study.cell_name(&run.cell);
        let alike = |kernel: &&mut Kernel| kernel.what == what && same(&kernel.curve, &curve);
        match kernels.iter_mut().find(alike) {
            Some(kernel) => kernel.names.push(name),
            None => kernels.push(Kernel { names: vec![name], what, curve }),
        }
    }
    kernels
}

fn same(one: &[Effective], other: &[Effective]) -> bool {
    one.iter().zip(other).all(|(a, b)| (a.mean - b.mean).abs() < 1e-9 && (a.high - b.high).abs() < 1e-9)
}

fn curve(recipe: &Recipe) -> Option<(&'static str, Vec<Effective>)> {
    let lags: Vec<i64> = (-REACH..=REACH).collect();
    let model: &ModelConfig = &recipe.model;
    let heads = model.num_attention_heads;
    if let Some(bias) = model.position.bias() {
        let place = Place { key_dim: model.head_dim(), heads, layer: 0 };
        let bias = bias.build::<f64>(place).ok()?;
        let params: Vec<f64> = bias.parameters().into_iter().flat_map(|parameter| parameter.init).collect();
        let head = BiasHead { bias: &*bias, params: &params, head: 0, key_dim: place.key_dim };
        return Some(("added to the logits", head.curve(&lags, DRAWS, 0)));
    }
    let place = Place { key_dim: model.position_dim(), heads, layer: 0 };
    let encoding = model.position.encoding().build::<f64>(place).ok()?;
    let params = initial_parameters(&*encoding);
    let head = Head { encoding: &*encoding, params: &params, head: 0 };
    let what = match head.probe() {
        Probe::Features => "share of the score",
        Probe::Matching => "share of the score, k = q",
    };
    Some((what, head.effective_kernel(&lags, DRAWS, 0)))
}

fn panel(kernel: &Kernel) -> Panel {
    let more = match kernel.names.len() {
        1 => String::new(),
        n => format!(" (+ {})", n - 1),
    };
    let band = kernel.curve.iter().map(|at| (at.lag as f64, at.low, at.high)).collect::<Vec<_>>();
    let points = kernel.curve.iter().map(|at| (at.lag as f64, at.mean)).collect();
    let name: String = kernel.names[0].chars().take(40).collect();
    let chart = Chart::new(format!("{name}{more}"), "lag t − s (tokens)", kernel.what);
    Panel::Chart(chart.line(Line::band(0, band.into_iter())).line(Line::new("", 0, Style::Solid, points)))
}
