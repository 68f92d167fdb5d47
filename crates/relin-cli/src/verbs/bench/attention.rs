//! `relin bench attention` and `relin bench encoding`: one call of causal attention.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::check::{against_double, against_naive};
use super::definition::{AttentionDefinition, Direction, Shape, check_list, check_time};
use super::error::BenchError;
use super::inputs::{Sizes, Tensors};
use super::machine::{Sgemm, bandwidth};
use super::memory::peak_of;
use super::operator::{Linear, Method, Operator, Results, Subject};
use super::position::Position;
use super::report::{self, Measurement, ShapeOf};
use super::timing::{Case, Times, compare, timed};
use super::{Setting, in_pools};

/// Whether positions are measured for themselves or against `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Speed,
    Overhead,
}

pub fn run(
    definition: &AttentionDefinition,
    question: Question,
    setting: &Setting,
) -> Result<Vec<Measurement>, BenchError> {
    check(definition)?;
    report::header(&setting.output);
    in_pools(&definition.threads, || {
        let bench = Bench {
            definition,
            question,
            setting,
            bandwidth: bandwidth(definition.bandwidth_mib),
            sgemm: Sgemm::new(),
        };
        report::machine(&setting.output, rayon::current_num_threads(), bench.sgemm.gflops(), bench.bandwidth);
        bench.run()
    })
}

fn check(definition: &AttentionDefinition) -> Result<(), BenchError> {
    check_time(definition.seconds_per_measurement)?;
    check_list("threads", &definition.threads)?;
    check_list("directions", &definition.directions)?;
    check_list("lengths", &definition.lengths)?;
    check_list("positions", &definition.positions)?;
    check_list("shape", &definition.shape)
}

struct Bench<'a> {
    definition: &'a AttentionDefinition,
    question: Question,
    setting: &'a Setting,
    bandwidth: Option<f64>,
    sgemm: Sgemm,
}

/// A subject with its sizes: a baseline of another width has its own.
struct Contender {
    subject: Subject,
    sizes: Sizes,
    operator: Operator<f32>,
}

/// What was found before the timing.
struct Checked {
    error: f64,
    peak_bytes: usize,
}

impl Bench<'_> {
    fn run(&self) -> Result<Vec<Measurement>, BenchError> {
        let mut measurements = Vec::new();
        for shape in &self.definition.shape {
            for &direction in &self.definition.directions {
                self.check_definitions(shape, direction)?;
                for length in &self.definition.lengths {
                    measurements.extend(self.compare(Sizes::new(shape, length.get()), direction)?);
                }
            }
        }
        Ok(measurements)
    }

    /// Holds every subject to its definition, on a short sequence.
    fn check_definitions(&self, shape: &Shape, direction: Direction) -> Result<(), BenchError> {
        let longest = self.definition.lengths.iter().map(|length| length.get()).max().unwrap_or(1);
        for contender in self.contenders(Sizes::new(shape, longest))? {
            against_naive(&contender.subject, contender.sizes, direction, self.setting.seed)?;
        }
        let softmax = self.definition.softmax.iter().flat_map(|softmax| &softmax.positions);
        for &position in softmax {
            let subject = Subject { method: Method::Softmax, position };
            against_naive(&subject, Sizes::new(shape, longest), direction, self.setting.seed)?;
        }
        Ok(())
    }

    /// All subjects of one shape, in turn.
    fn compare(&self, sizes: Sizes, direction: Direction) -> Result<Vec<Measurement>, BenchError> {
        let contenders = self.contenders(sizes)?;
        let mut tensors = BTreeMap::new();
        for Contender { sizes, .. } in &contenders {
            tensors.entry(sizes.key_dim).or_insert_with(|| Tensors::random(sizes, self.setting.seed));
        }
        let segments = sizes.segments();
        let of = |contender: &Contender| &tensors[&contender.sizes.key_dim];
        let kept = RefCell::new(Results::default());
        let check = |contender: &Contender| {
            let tensors = of(contender);
            let (results, peak) = peak_of(|| contender.operator.run(direction, &segments, tensors));
            let results = results?;
            let peak_bytes = peak.saturating_sub(results.bytes);
            let error = against_double(&contender.subject, &contender.sizes, tensors, &results)?;
            kept.replace(results);
            Ok(Checked { error, peak_bytes })
        };
        let checked = contenders.iter().map(check).collect::<Result<Vec<_>, BenchError>>()?;
        let cases = contenders.iter().map(|contender| -> Case<'_> {
            let (operator, tensors, segments, kept) = (&contender.operator, of(contender), &segments, &kept);
            Box::new(move || {
                timed(|| operator.run_into(direction, segments, tensors, &mut kept.borrow_mut()))
            })
        });
        let mut cases: Vec<Case<'_>> = cases.collect();
        let times = compare(self.definition.seconds_per_measurement, &self.sgemm, &mut cases)?;
        drop(cases);
        let measurements = (0..contenders.len())
            .filter(|&at| self.is_reported(&contenders[at], &sizes))
            .map(|at| self.measurement(&contenders, at, direction, &checked[at], &times));
        let measurements: Vec<Measurement> = measurements.collect();
        measurements.iter().for_each(|measurement| measurement.print(&self.setting.output));
        Ok(measurements)
    }

    /// The subjects, and before them what their overhead is measured against.
    fn contenders(&self, sizes: Sizes) -> Result<Vec<Contender>, BenchError> {
        let (feature_map, normalizer) = (self.definition.feature_map, self.definition.normalizer);
        let linear = |position, key_dim| {
            let subject = Subject { method: Method::Linear(Linear { feature_map, normalizer }), position };
            contender(subject, Sizes { key_dim, ..sizes })
        };
        let mut subjects = Vec::new();
        for &position in &self.definition.positions {
            subjects.push(linear(position, sizes.key_dim)?);
        }
        let mut all: Vec<Contender> = Vec::new();
        if self.question == Question::Overhead {
            for width in subjects.iter().map(|subject| subject.operator.encoded_dim()) {
                if !all.iter().any(|baseline| baseline.sizes.key_dim == width) {
                    all.push(linear(Position::none(), width)?);
                }
            }
            subjects.retain(|subject| subject.subject.position.name() != Position::none().name());
        }
        all.extend(subjects);
        let softmax = self.definition.softmax.iter().filter(|softmax| sizes.length <= softmax.longest);
        for &position in softmax.flat_map(|softmax| &softmax.positions) {
            all.push(contender(Subject { method: Method::Softmax, position }, sizes)?);
        }
        Ok(all)
    }

    /// Baselines of another width serve the comparison alone, unless they were asked for.
    fn is_reported(&self, contender: &Contender, sizes: &Sizes) -> bool {
        self.question == Question::Speed || contender.sizes.key_dim == sizes.key_dim
    }

    fn measurement(
        &self,
        contenders: &[Contender],
        at: usize,
        direction: Direction,
        checked: &Checked,
        times: &[Times],
    ) -> Measurement {
        let (Contender { subject, sizes, operator }, own) = (&contenders[at], &times[at]);
        let flops = operator.flops(direction, &sizes.segments());
        let gflops = flops as f64 / own.median() / 1e9;
        let baseline = contenders.iter().position(|other| {
            other.subject.position.name() == Position::none().name()
                && other.sizes.key_dim == operator.encoded_dim()
        });
        let baseline = baseline.filter(|&other| self.question == Question::Overhead && other != at);
        Measurement {
            name: subject.name().into(),
            position: subject.position.name().into(),
            shape: shape_of(sizes, operator.encoded_dim()),
            threads: rayon::current_num_threads(),
            direction: direction.name(),
            median_seconds: own.median(),
            min_seconds: own.least(),
            calls: own.calls.len(),
            tokens_per_second: sizes.tokens() as f64 / own.median(),
            gflops,
            sgemm_gflops: own.sgemm_gflops(),
            fraction_of_sgemm: gflops / own.sgemm_gflops(),
            peak_bytes: checked.peak_bytes,
            relative_error: Some(checked.error),
            overhead: baseline.map(|other| own.overhead(&times[other])),
            memory_gigabytes_per_second: self.bandwidth,
        }
    }
}

fn contender(subject: Subject, sizes: Sizes) -> Result<Contender, BenchError> {
    Ok(Contender { subject, sizes, operator: subject.build(&sizes, sizes.heads)? })
}

pub fn shape_of(sizes: &Sizes, encoded_dim: usize) -> ShapeOf {
    ShapeOf {
        batch: sizes.batch,
        heads: sizes.heads,
        key_dim: sizes.key_dim,
        value_dim: sizes.value_dim,
        encoded_dim,
        chunk: sizes.chunk,
        length: sizes.length,
    }
}
