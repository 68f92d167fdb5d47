//! Grey pictures with smooth edges.

use super::contours::{Point, distance};

/// Samples along a side of a pixel; the share of them inside a shape is how much of the pixel it covers.
const SAMPLES: usize = 4;

/// Brightness from 0 to 1, row by row.
pub(super) struct Canvas {
    size: usize,
    pixels: Vec<f32>,
}

impl Canvas {
    /// A dark square.
    pub fn new(size: usize) -> Self {
        Self { size, pixels: vec![0.0; size * size] }
    }

    /// All within `radius` of a segment, at a brightness; where something brighter is, it stays. A segment without
    /// length is a disc.
    pub fn stroke(&mut self, segment: [Point; 2], radius: f64, brightness: f32) {
        let [from, to] = segment;
        let range = |axis: usize| {
            let (low, high) = (from[axis].min(to[axis]) - radius, from[axis].max(to[axis]) + radius);
            low.floor().max(0.0) as usize..(high.ceil().max(0.0) as usize).min(self.size)
        };
        for (row, column) in range(1).flat_map(|row| range(0).map(move |column| (row, column))) {
            let inside = (0..SAMPLES * SAMPLES).filter(|sample| {
                let within = |at: usize| (at as f64 + 0.5) / SAMPLES as f64;
                let point = [column as f64 + within(sample % SAMPLES), row as f64 + within(sample / SAMPLES)];
                distance(point, segment) <= radius
            });
            let covered = inside.count() as f32 / (SAMPLES * SAMPLES) as f32;
            let pixel = &mut self.pixels[row * self.size + column];
            *pixel = pixel.max(brightness * covered);
        }
    }

    /// Brightness from 0 to 255.
    pub fn bytes(&self) -> impl Iterator<Item = u8> {
        self.pixels.iter().map(|&pixel| (255.0 * pixel).round() as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_as_bright_as_they_are_covered() {
        let mut canvas = Canvas::new(4);
        canvas.stroke([[0.5, 1.0], [3.5, 1.0]], 0.5, 1.0);
        let bytes: Vec<u8> = canvas.bytes().collect();
        // Half of the pixels on either side of the line; at its ends, also what is round.
        assert_eq!(&bytes[1..3], [128, 128]);
        assert_eq!(bytes[1..3], bytes[5..7]);
        assert!((1..=128).contains(&bytes[0]) && bytes[8..].iter().all(|&byte| byte == 0), "{bytes:?}");
    }

    #[test]
    fn discs_have_their_area_and_the_brighter_stays() {
        let mut canvas = Canvas::new(20);
        canvas.stroke([[10.0, 10.0]; 2], 5.0, 1.0);
        canvas.stroke([[10.0, 10.0]; 2], 5.0, 0.5);
        let area = canvas.bytes().map(f64::from).sum::<f64>() / 255.0;
        assert!((area - 25.0 * std::f64::consts::PI).abs() < 1.0, "{area}");
    }

    #[test]
    fn what_reaches_over_the_rim_is_cut() {
        let mut canvas = Canvas::new(3);
        canvas.stroke([[-4.0, -4.0], [9.0, 9.0]], 1.0, 1.0);
        assert_eq!(canvas.bytes().next(), Some(255));
    }
}
