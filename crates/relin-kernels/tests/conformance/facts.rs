//! What a naive implementation gets wrong, one test a fact.

use relin_kernels::encoding::lrpe::{Basis, Cycle, Family, Pairs};
use relin_kernels::encoding::{Encoding, Lrpe, LrpeConfig, Place, Side, Stage};
use relin_kernels::feature_map::FeatureMap;
use relin_kernels::linear_attention::{Inputs, LinearAttention, Normalizer};
use relin_kernels::segments::{Mask, dense};

use crate::cases::{assert_close, normals};

const K: usize = 8;

fn lrpe(config: LrpeConfig) -> Lrpe {
    Lrpe::new(&config, Place { key_dim: K, heads: 1, layer: 0 }).unwrap()
}

fn kernel(lrpe: &Lrpe, lag: i64) -> Vec<f64> {
    let encoding: &dyn Encoding<f64> = lrpe;
    encoding.kernel(&[], 0, lag)
}

fn transpose(w: &[f64]) -> Vec<f64> {
    (0..K * K).map(|at| w[at % K * K + at / K]).collect()
}

fn differ(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).any(|(a, b)| (a - b).abs() > 1e-3)
}

fn encode(lrpe: &Lrpe, position: i64, x: &[f64]) -> Vec<f64> {
    let encoding: &dyn Encoding<f64> = lrpe;
    let mut out = vec![f64::NAN; encoding.encoded_dim()];
    encoding.bind(&[]).encode(Side::Query, 0, position, x, &mut out);
    out
}

fn score(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn fact_1_unitary_with_real_basis_is_even_in_the_lag_and_the_others_are_not() {
    for basis in [Basis::Identity, Basis::Householder, Basis::OddEven, Basis::Permutation, Basis::Dct] {
        let unitary = lrpe(LrpeConfig { basis, ..LrpeConfig::default() });
        assert_close("even", &kernel(&unitary, -3), &kernel(&unitary, 3), 1e-12);
    }
    let fourier = lrpe(LrpeConfig { basis: Basis::Fourier, ..LrpeConfig::default() });
    assert!(differ(&kernel(&fourier, -3), &kernel(&fourier, 3)));
    // One cycle: a permutation whose cycles all divide twice the lag would be even at that lag.
    for (family, cycle) in [(Family::Orthogonal, Cycle::Random), (Family::Permutation, Cycle::Single)] {
        let other = lrpe(LrpeConfig { family, cycle, ..LrpeConfig::default() });
        assert!(differ(&kernel(&other, -3), &kernel(&other, 3)), "{family:?}");
        assert_close("transpose", &kernel(&other, -3), &transpose(&kernel(&other, 3)), 1e-12);
    }
}

/// A permutation as P is a relabelling of the features: permuting the rows of the query and key projections gives
/// the same scores, feature map included. A Householder P does not commute with the feature map.
#[test]
fn fact_2_a_permutation_basis_is_a_relabelling_of_features() {
    let relabelled = |x: &[f64]| -> Vec<f64> { [0, 4, 1, 5, 2, 6, 3, 7].map(|i| x[i]).to_vec() };
    let (q, k): (Vec<f64>, Vec<f64>) = (normals(1, K), normals(2, K));
    let features = |x: &[f64]| {
        let mut out = vec![f64::NAN; K];
        FeatureMap::Elu1.apply(K, x, &mut out);
        out
    };
    let after = |lrpe: &Lrpe, q: &[f64], k: &[f64]| score(&encode(lrpe, 5, q), &encode(lrpe, 9, k));
    for family in [Family::Unitary, Family::Orthogonal] {
        let identity = lrpe(LrpeConfig { family, basis: Basis::Identity, ..LrpeConfig::default() });
        let odd_even = lrpe(LrpeConfig { family, basis: Basis::OddEven, ..LrpeConfig::default() });
        let expected = after(&identity, &features(&relabelled(&q)), &features(&relabelled(&k)));
        assert_eq!(after(&odd_even, &features(&q), &features(&k)), expected, "{family:?}: to the bit");
    }
    let half = LrpeConfig { family: Family::Orthogonal, basis: Basis::Identity, ..LrpeConfig::default() };
    let rope = lrpe(LrpeConfig { pairs: Pairs::Half, ..half.clone() });
    let type5 = lrpe(LrpeConfig { basis: Basis::OddEven, ..half });
    let difference = after(&rope, &q, &k) - after(&type5, &q, &k);
    assert!(difference.abs() < 1e-12, "rotation with odd-even P has the scores of half-split RoPE");
}

/// Rotated features of opposite phase: every score is −|q||k|, and so is their sum.
#[test]
fn fact_3_the_encoded_denominator_can_vanish_and_the_plain_one_cannot() {
    let config = LrpeConfig {
        family: Family::Orthogonal,
        basis: Basis::Identity,
        theta: Some(vec![std::f64::consts::PI; K / 2]),
        ..LrpeConfig::default()
    };
    let run = |normalizer| -> f64 {
        let attention = LinearAttention {
            feature_map: FeatureMap::Elu1.bind(K),
            stage: Stage::AfterFeatureMap,
            encoding: std::sync::Arc::new(lrpe(config.clone())),
            normalizer,
            eps: 1e-6,
            heads: 1,
            value_dim: 1,
            chunk: 4,
        };
        let mut k = vec![0.0; 2 * K];
        k[K..].fill(-9.0);
        let segments = dense(1, 2, 0);
        let inputs = Inputs { q: &[0.0; 2 * K], k: &k, v: &[1.0, 1.0], params: &[], initial: None };
        attention.forward(Mask::causal(&segments), inputs).out[1]
    };
    assert!(run(Normalizer::Encoded) < -1e6, "clamped to ε, the quotient explodes");
    let plain = run(Normalizer::Plain);
    assert!(plain.abs() <= 1.0, "a weighted mean of signed weights no larger than the plain ones: {plain}");
}

#[test]
fn fact_4_a_random_permutation_repeats_after_the_lcm_of_its_cycles_and_no_position_is_too_far() {
    let config = LrpeConfig { family: Family::Permutation, ..LrpeConfig::default() };
    let place = Place { key_dim: 64, heads: 1, layer: 0 };
    let x: Vec<f64> = normals(4, 64);
    let mut below_512 = 0;
    for seed in 0..200 {
        let lrpe = Lrpe::new(&LrpeConfig { seed, ..config.clone() }, place).unwrap();
        let period = lrpe.cycles(0).unwrap().period();
        below_512 += usize::from(period < 512);
        let far = 1_000_000_007 * period as i64;
        assert_eq!(encode(&lrpe, 3 + far, &x), encode(&lrpe, 3, &x), "period {period}");
    }
    // 44 % of all draws; 200 draws have a standard error of 3.5 points.
    assert!((60..=116).contains(&below_512), "{below_512} of 200 repeat inside 512 tokens");
    let single = Lrpe::new(&LrpeConfig { cycle: Cycle::Single, ..config.clone() }, place).unwrap();
    assert_eq!(single.cycles(0).unwrap().period(), 64);
    let longest = Lrpe::new(&LrpeConfig { cycle: Cycle::Longest, ..config }, place).unwrap();
    assert_eq!(longest.cycles(0).unwrap().period(), 2_042_040);
}

/// The score depends on the lag alone, in single precision too, as far as a million tokens out.
#[test]
fn fact_5_angles_do_not_drift_at_long_range() {
    for family in [Family::Unitary, Family::Orthogonal, Family::Permutation] {
        let lrpe = lrpe(LrpeConfig { family, ..LrpeConfig::default() });
        let encoding: &dyn Encoding<f32> = &lrpe;
        let encoder = encoding.bind(&[]);
        let (q, k): (Vec<f32>, Vec<f32>) = (normals(1, K), normals(2, K));
        let at = |position: i64| {
            let mut encoded =
                [vec![f32::NAN; encoding.encoded_dim()], vec![f32::NAN; encoding.encoded_dim()]];
            encoder.encode(Side::Query, 0, position, &q, &mut encoded[0]);
            encoder.encode(Side::Key, 0, position + 17, &k, &mut encoded[1]);
            encoded[0].iter().zip(&encoded[1]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
        };
        let near = at(0);
        for far in [1_000, 100_000, 1_000_000, 1_000_000_000] {
            assert!((at(far) - near).abs() < 1e-5, "{family:?} at {far}: {} against {near}", at(far));
        }
    }
}

/// Two axes on the same features compose to the sum of the coordinates; on disjoint slices they stay apart.
#[test]
fn fact_8_two_axes_need_disjoint_features() {
    let config = LrpeConfig { family: Family::Orthogonal, ..LrpeConfig::default() };
    let whole = lrpe(LrpeConfig { basis: Basis::Identity, ..config.clone() });
    let half = Lrpe::new(
        &LrpeConfig { basis: Basis::Identity, ..config },
        Place { key_dim: K / 2, heads: 1, layer: 0 },
    )
    .unwrap();
    let (q, k): (Vec<f64>, Vec<f64>) = (normals(1, K), normals(2, K));
    let same = |row: i64, column: i64| {
        let key = encode(&whole, row, &encode(&whole, column, &k));
        score(&q, &key)
    };
    let disjoint = |row: i64, column: i64| {
        let (a, b) = k.split_at(K / 2);
        let key = [encode(&half, row, a), encode(&half, column, b)].concat();
        score(&q, &key)
    };
    assert!((same(1, 2) - same(2, 1)).abs() < 1e-12 && (same(3, -3) - same(0, 0)).abs() < 1e-12);
    assert!(
        (disjoint(1, 2) - disjoint(2, 1)).abs() > 1e-3 && (disjoint(3, -3) - disjoint(0, 0)).abs() > 1e-3
    );
}
