//! Two dashed contours that wind over a window, and shorter ones that distract from them.

use std::f64::consts::{FRAC_PI_2, TAU};

use relin_kernels::rng::Rng;

/// A place in pixels from the upper left corner of the window: right, down.
pub(super) type Point = [f64; 2];

/// What a window is filled with, lengths in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Geometry {
    /// Side of the window.
    pub size: f64,
    /// Paddles of each of the two contours.
    pub contour: usize,
    /// Number of distractors, and the most paddles of one.
    pub distractors: (usize, usize),
    /// Length of a paddle.
    pub paddle: f64,
    /// Its breadth.
    pub thickness: f64,
    /// Room around a paddle; two in a row are twice as far apart.
    pub margin: f64,
    /// Distance of the two contours' first paddles.
    pub seeds: f64,
    /// Radius of the discs at the marked ends.
    pub marker: f64,
    /// How straight contours are: a bend by the angle a has weight `cos²(min(continuity·|a|, π/2))`.
    pub continuity: f64,
}

/// Rim of the window that paddles keep out of.
const PADDING: f64 = 1.0;
/// Directions that a paddle may take, evenly spaced.
const DIRECTIONS: usize = 36;
/// Paddles that a blocked contour takes back, and how often that may happen in a picture.
const RETREAT: usize = 3;
const PATIENCE: usize = 50;
/// Places that are tried for the first paddle of a distractor.
const TRIALS: usize = 20;

/// A dash.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Paddle {
    /// Its first end.
    pub tail: Point,
    angle: f64,
}

impl Paddle {
    /// Its other end.
    pub fn head(&self, length: f64) -> Point {
        ahead(self.tail, self.angle, length)
    }
}

fn ahead(from: Point, angle: f64, by: f64) -> Point {
    [from[0] + by * angle.cos(), from[1] + by * angle.sin()]
}

/// All paddles of a picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Contours {
    /// The two contours, first paddle first.
    pub contours: [Vec<Paddle>; 2],
    /// The others.
    pub distractors: Vec<Vec<Paddle>>,
}

impl Contours {
    /// Grows both contours in turn from neighbouring places near the middle, then the distractors where there is room
    /// left. A contour that has run into a corner takes back a few paddles and tries again. `None` if that does not
    /// help: another generator may have more luck.
    pub fn grow(geometry: &Geometry, rng: Rng) -> Option<Self> {
        let mut growth = Growth { geometry, rng, drawn: 0, placed: Vec::new() };
        let mut contours = growth.seeds()?.map(|seed| vec![seed]);
        let mut blocked = 0;
        while let Some(shorter) =
            contours.iter_mut().filter(|c| c.len() < geometry.contour).min_by_key(|c| c.len())
        {
            match growth.next(shorter[shorter.len() - 1]) {
                Some(next) => shorter.push(next),
                None if blocked == PATIENCE => return None,
                None => {
                    blocked += 1;
                    growth.retreat(shorter);
                }
            }
        }
        let distractors = (0..geometry.distractors.0).filter_map(|_| growth.distractor()).collect();
        Some(Self { contours, distractors })
    }

    /// The first end of the first contour, and the last end of the same one or of the other.
    pub fn marked(&self, joined: bool, length: f64) -> [Point; 2] {
        let [first, second] = &self.contours;
        let last = if joined { first } else { second };
        [first[0].tail, last[last.len() - 1].head(length)]
    }
}

struct Growth<'a> {
    geometry: &'a Geometry,
    rng: Rng,
    drawn: u64,
    placed: Vec<Paddle>,
}

impl Growth<'_> {
    fn uniform(&mut self) -> f64 {
        self.drawn += 1;
        self.rng.uniform(self.drawn - 1)
    }

    fn seeds(&mut self) -> Option<[Paddle; 2]> {
        let &Geometry { size, seeds, .. } = self.geometry;
        let border = (2.0 * seeds).min(size / 2.0 - 1.0);
        let first = self.anywhere(border);
        self.place(first, None)?;
        let tail = ahead(first.tail, self.uniform() * TAU, seeds);
        let second = Paddle { tail, angle: self.uniform() * TAU };
        self.place(second, None)?;
        Some([first, second])
    }

    fn anywhere(&mut self, border: f64) -> Paddle {
        let inside = self.geometry.size - 2.0 * border;
        let tail = [border + inside * self.uniform(), border + inside * self.uniform()];
        Paddle { tail, angle: self.uniform() * TAU }
    }

    /// One of the directions where there is room, by its weight.
    fn next(&mut self, last: Paddle) -> Option<Paddle> {
        let &Geometry { paddle, margin, continuity, .. } = self.geometry;
        let tail = ahead(last.tail, last.angle, paddle + 2.0 * margin);
        let candidates = (0..DIRECTIONS).filter_map(|at| {
            let bend = TAU * (at as f64 / DIRECTIONS as f64 - 0.5);
            let weight = (continuity * bend.abs()).min(FRAC_PI_2).cos().powi(2);
            let next = Paddle { tail, angle: last.angle + bend };
            // The cosine of a quarter of a turn is not quite 0.
            (weight > 1e-9 && self.fits(next, Some(last))).then_some((next, weight))
        });
        let candidates: Vec<(Paddle, f64)> = candidates.collect();
        let total: f64 = candidates.iter().map(|candidate| candidate.1).sum();
        let mut left = self.uniform() * total;
        let chosen = candidates.iter().find(|candidate| {
            left -= candidate.1;
            left <= 0.0
        });
        let next = chosen.or(candidates.last())?.0;
        self.placed.push(next);
        Some(next)
    }

    /// Takes back the last paddles of a contour that cannot go on, but not its first.
    fn retreat(&mut self, contour: &mut Vec<Paddle>) {
        let gone = contour.split_off(contour.len().saturating_sub(RETREAT).max(1));
        self.placed.retain(|paddle| !gone.contains(paddle));
    }

    /// As many paddles as there is room for; `None` if there is none for the first.
    fn distractor(&mut self) -> Option<Vec<Paddle>> {
        let first = (0..TRIALS).find_map(|_| {
            let paddle = self.anywhere(PADDING);
            self.place(paddle, None)
        })?;
        let mut distractor = vec![first];
        while distractor.len() < self.geometry.distractors.1 {
            let Some(next) = self.next(distractor[distractor.len() - 1]) else { break };
            distractor.push(next);
        }
        Some(distractor)
    }

    fn place(&mut self, paddle: Paddle, before: Option<Paddle>) -> Option<Paddle> {
        self.fits(paddle, before).then(|| self.placed.push(paddle)).map(|()| paddle)
    }

    /// Whether a paddle is in the window and keeps its distance from all others but the one before it.
    fn fits(&self, paddle: Paddle, before: Option<Paddle>) -> bool {
        let &Geometry { size, paddle: length, margin, .. } = self.geometry;
        let (tail, head) = (paddle.tail, paddle.head(length));
        let inside = |x: f64| (PADDING..=size - PADDING).contains(&x);
        let room = 2.0 * margin;
        // Most others are too far away to be worth a closer look.
        let near = |other: &&Paddle| within(other.tail, tail, room + 2.0 * length) && Some(**other) != before;
        [tail, head].as_flattened().iter().all(|&x| inside(x))
            && self
                .placed
                .iter()
                .filter(near)
                .all(|other| apart([tail, head], [other.tail, other.head(length)]) >= room)
    }
}

fn within(one: Point, other: Point, reach: f64) -> bool {
    (one[0] - other[0]).powi(2) + (one[1] - other[1]).powi(2) <= reach * reach
}

/// Distance of two segments.
fn apart(one: [Point; 2], other: [Point; 2]) -> f64 {
    if cross(one, other) {
        return 0.0;
    }
    let ends = one.map(|end| distance(end, other)).into_iter().chain(other.map(|end| distance(end, one)));
    ends.fold(f64::INFINITY, f64::min)
}

fn cross([a, b]: [Point; 2], [c, d]: [Point; 2]) -> bool {
    let side = |p: Point, q: Point, r: Point| (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]);
    side(a, b, c) * side(a, b, d) < 0.0 && side(c, d, a) * side(c, d, b) < 0.0
}

/// Distance of a point from a segment.
pub(super) fn distance(point: Point, [from, to]: [Point; 2]) -> f64 {
    let along = [to[0] - from[0], to[1] - from[1]];
    let offset = [point[0] - from[0], point[1] - from[1]];
    let length = along[0] * along[0] + along[1] * along[1];
    let share = if length == 0.0 { 0.0 } else { (along[0] * offset[0] + along[1] * offset[1]) / length };
    let share = share.clamp(0.0, 1.0);
    (offset[0] - share * along[0]).hypot(offset[1] - share * along[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry = Geometry {
        size: 32.0,
        contour: 9,
        distractors: (5, 4),
        paddle: 2.0,
        thickness: 0.5,
        margin: 1.0,
        seeds: 7.0,
        marker: 1.5,
        continuity: 1.0,
    };

    fn grown(n: u64) -> Vec<Contours> {
        (0..n).filter_map(|at| Contours::grow(&GEOMETRY, Rng::new(1, at))).collect()
    }

    #[test]
    fn distances_of_segments_are_those_of_geometry() {
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}");
        near(distance([3.0, 4.0], [[0.0, 0.0], [0.0, 0.0]]), 5.0);
        near(distance([1.0, 2.0], [[0.0, 0.0], [4.0, 0.0]]), 2.0);
        near(distance([7.0, 4.0], [[0.0, 0.0], [4.0, 0.0]]), 5.0);
        near(apart([[0.0, 0.0], [2.0, 2.0]], [[0.0, 2.0], [2.0, 0.0]]), 0.0);
        near(apart([[0.0, 0.0], [2.0, 0.0]], [[1.0, 3.0], [1.0, 1.0]]), 1.0);
    }

    #[test]
    fn contours_have_their_length_and_every_paddle_its_room() {
        let pictures = grown(300);
        assert!(pictures.len() > 30, "{} of 300", pictures.len());
        for picture in &pictures {
            assert!(picture.contours.iter().all(|contour| contour.len() == GEOMETRY.contour));
            assert!(
                picture.distractors.len() <= 5
                    && picture.distractors.iter().all(|d| (1..=4).contains(&d.len()))
            );
            let curves: Vec<_> = picture.contours.iter().chain(&picture.distractors).collect();
            let paddles =
                |curve: &Vec<Paddle>| curve.iter().map(|p| [p.tail, p.head(2.0)]).collect::<Vec<_>>();
            let all: Vec<(usize, usize, [Point; 2])> = curves
                .iter()
                .enumerate()
                .flat_map(|(c, curve)| paddles(curve).into_iter().enumerate().map(move |(i, p)| (c, i, p)))
                .collect();
            for (at, &(curve, place, paddle)) in all.iter().enumerate() {
                assert!(paddle.as_flattened().iter().all(|x| (1.0..=31.0).contains(x)), "{paddle:?}");
                for &(other_curve, other_place, other) in &all[..at] {
                    let neighbours = curve == other_curve && place == other_place + 1;
                    let room = apart(paddle, other);
                    assert!(neighbours || room >= 2.0, "{room}");
                    assert!(!neighbours || (distance(paddle[0], other) - 2.0).abs() < 1e-9);
                }
            }
        }
    }

    /// The mean of |a| under `cos² ca`, up to where it is 0, is `(π/4 − 1/π)/c`. In a wide window nothing else bends
    /// contours.
    #[test]
    fn bends_are_as_gentle_as_they_should_be() {
        for continuity in [1.0, 1.8] {
            let geometry = Geometry { size: 400.0, seeds: 90.0, continuity, ..GEOMETRY };
            let grown = (0..300).filter_map(|at| Contours::grow(&geometry, Rng::new(1, at)));
            let contours: Vec<_> = grown.flat_map(|picture| picture.contours).collect();
            let bends = contours.iter().flat_map(|c| c.windows(2)).map(|pair| pair[1].angle - pair[0].angle);
            let bends: Vec<f64> = bends.map(f64::abs).collect();
            assert!(bends.iter().all(|&bend| continuity * bend < FRAC_PI_2));
            let (n, mean) = (bends.len() as f64, bends.iter().sum::<f64>() / bends.len() as f64);
            let expected = (FRAC_PI_2 / 2.0 - 1.0 / std::f64::consts::PI) / continuity;
            // Their deviation is 0.33/c; directions are a finite number.
            assert!((mean - expected).abs() < 4.0 * 0.33 / n.sqrt() + 0.002, "{mean}, expected {expected}");
        }
    }

    #[test]
    fn markers_are_at_ends_of_one_contour_or_of_both() {
        for picture in grown(50) {
            let [first, second] = &picture.contours;
            let end = |contour: &[Paddle]| contour[GEOMETRY.contour - 1].head(2.0);
            assert_eq!(picture.marked(true, 2.0), [first[0].tail, end(first)]);
            assert_eq!(picture.marked(false, 2.0), [first[0].tail, end(second)]);
            let apart = distance(first[0].tail, [second[0].tail; 2]);
            assert!((apart - 7.0).abs() < 1e-9, "{apart}");
        }
    }
}
