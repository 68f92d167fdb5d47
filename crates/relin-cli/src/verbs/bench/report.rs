//! A measurement as machines and as people read it.

use serde::Serialize;

use crate::output::Output;
use crate::progress::grouped;

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// What was measured.
    pub name: String,
    /// The relative encoding.
    pub position: String,
    pub shape: ShapeOf,
    pub threads: usize,
    pub direction: &'static str,
    /// Median over all calls; of one token for `decode`.
    pub median_seconds: f64,
    pub min_seconds: f64,
    /// Calls that were timed.
    pub calls: usize,
    pub tokens_per_second: f64,
    /// FLOPs of the operator's matrix products by the median.
    pub gflops: f64,
    /// 1024³ products, one on each of the threads at the same time, all together; median of those
    /// just before and just after the turns of this measurement.
    pub sgemm_gflops: f64,
    /// `gflops / sgemm_gflops`.
    pub fraction_of_sgemm: f64,
    /// Most heap memory in use beyond inputs and results.
    pub peak_bytes: usize,
    /// Against double precision or the definition; nothing is timed if it is too large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative_error: Option<f64>,
    /// Time beyond that of `none` with the same width after the encoding, as a share of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overhead: Option<f64>,
    /// Memory bandwidth on the same threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_gigabytes_per_second: Option<f64>,
}

/// Sizes, those that the measurement has.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ShapeOf {
    pub batch: usize,
    pub heads: usize,
    pub key_dim: usize,
    pub value_dim: usize,
    /// K', after the encoding.
    pub encoded_dim: usize,
    pub chunk: usize,
    /// T; tokens before the timed ones for `decode`.
    pub length: usize,
}

impl Measurement {
    /// Prints it: a machine line, or a row.
    pub fn print(&self, output: &Output) {
        output.event(self);
        output.result(self.row());
    }

    fn row(&self) -> String {
        let shape = self.shape;
        format!(
            "{:<18} {:<21} {:>2}x{:<2} {:>3} {:>3} {:>9} {:>2} {:<16} {:>11} {:>9.2} {:>7.1} {:>5.2} {:>9.1}{}{}",
            self.name,
            self.position,
            shape.batch,
            shape.heads,
            shape.key_dim,
            shape.value_dim,
            grouped(shape.length),
            self.threads,
            self.direction,
            duration(self.median_seconds),
            1e9 / self.tokens_per_second,
            self.gflops,
            self.fraction_of_sgemm,
            self.peak_bytes as f64 / f64::from(1 << 20),
            self.relative_error.map_or(format!("{:>9}", ""), |error| format!("{error:>9.0e}")),
            self.overhead.map_or(String::new(), |share| format!("{:>+9.1} %", 100.0 * share)),
        )
    }
}

/// Names the columns of the rows.
pub fn header(output: &Output) {
    output.result(format_args!(
        "{:<18} {:<21} {:>5} {:>3} {:>3} {:>9} {:>2} {:<16} {:>11} {:>9} {:>7} {:>5} {:>9}{:>9}{:>11}",
        "name",
        "position",
        "BxH",
        "K",
        "V",
        "T",
        "th",
        "direction",
        "median",
        "ns/token",
        "GFLOP/s",
        "sgemm",
        "extra MiB",
        "error",
        "over none"
    ));
}

/// Says what the machine does with the given threads.
pub fn machine(output: &Output, threads: usize, sgemm_gflops: f64, bandwidth: Option<f64>) {
    let memory = bandwidth.map_or(String::new(), |rate| format!(", memory {rate:.1} GB/s"));
    output.note(format_args!("threads: {threads}; sgemm of 1024³ {sgemm_gflops:.1} GFLOP/s{memory}"));
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.2} µs", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_fitting_unit() {
        assert_eq!(duration(4.2e-6), "4.20 µs");
        assert_eq!(duration(0.0123), "12.30 ms");
        assert_eq!(duration(12.3), "12.30 s");
    }
}
