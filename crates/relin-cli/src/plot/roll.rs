//! Notes over time: a piano roll, in several systems one below the other.

use std::fmt::Write;

use super::svg::{self, escape, put};

/// Quarter notes of a system, and of a bar line.
const SYSTEM: f64 = 64.0;
const BAR: usize = 4;
/// Pixels of a quarter note.
const QUARTER: f64 = 15.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 24.0;
const HEADER: f64 = 84.0;
/// Room between systems, where the numbers of bars stand.
const BETWEEN: f64 = 34.0;
/// More systems make a picture that nothing opens.
const MOST_SYSTEMS: usize = 40;
const COLOURS: usize = 6;

/// A note: times in quarter notes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RollNote {
    pub onset: f64,
    pub duration: f64,
    pub pitch: u8,
}

/// Notes of several voices over time.
#[derive(Clone, Debug)]
pub struct Roll {
    pub title: String,
    /// A line below the title.
    pub subtitle: String,
    /// Names and notes.
    pub voices: Vec<(String, Vec<RollNote>)>,
    /// Until when, in quarter notes, the notes were given; they are paler.
    pub given: f64,
}

/// The vertical scale.
struct Pitches {
    low: u8,
    high: u8,
    row: f64,
}

impl Pitches {
    fn height(&self) -> f64 {
        f64::from(self.high - self.low + 1) * self.row
    }

    fn y(&self, pitch: u8) -> f64 {
        f64::from(self.high - pitch) * self.row
    }
}

impl Roll {
    /// The roll as an SVG document.
    pub fn svg(&self) -> String {
        let notes = || self.voices.iter().flat_map(|(_, notes)| notes);
        let low = notes().map(|note| note.pitch).min().unwrap_or(60);
        let high = notes().map(|note| note.pitch).max().unwrap_or(60);
        let (low, high) = (low.saturating_sub(2), (high + 2).min(127));
        let row = (220.0 / f64::from(high - low + 1)).clamp(3.0, 8.0);
        let pitches = Pitches { low, high, row };
        let end = notes().map(|note| note.onset + note.duration).fold(0.0, f64::max);
        let all = ((end / SYSTEM).ceil() as usize).max(1);
        let systems = all.min(MOST_SYSTEMS);
        let length = if all == 1 { (end / BAR as f64).ceil().max(8.0) * BAR as f64 } else { SYSTEM };
        let width = LEFT + length * QUARTER + RIGHT;
        let height = HEADER + systems as f64 * (pitches.height() + BETWEEN);
        let mut out = String::new();
        svg::head(&mut out, &self.title, (width, height), |_| {
            ".given { opacity: 0.45; } .octave { stroke-width: 1; opacity: 0.9; }\n".into()
        });
        self.heading(&mut out, systems < all);
        for system in 0..systems {
            let top = HEADER + system as f64 * (pitches.height() + BETWEEN);
            put!(out, r#"<g transform="translate({LEFT} {top:.1})">"#);
            staff(&mut out, &pitches, system, length);
            self.notes(&mut out, &pitches, system as f64 * SYSTEM, length);
            put!(out, "</g>");
        }
        out.push_str("</svg>\n");
        out
    }

    fn heading(&self, out: &mut String, cut: bool) {
        let more = if cut { "; the first systems" } else { "" };
        put!(out, r#"<text class="ink title" x="{LEFT}" y="28">{}</text>"#, escape(&self.title));
        put!(out, r#"<text class="pale" x="{LEFT}" y="48">{}{more}</text>"#, escape(&self.subtitle));
        let mut x = LEFT;
        for (voice, (name, _)) in self.voices.iter().enumerate() {
            let colour = voice % COLOURS;
            put!(out, r#"<rect class="f{colour}" x="{x:.1}" y="59" width="14" height="7" rx="2"/>"#);
            put!(out, r#"<text class="pale" x="{:.1}" y="67">{}</text>"#, x + 20.0, escape(name));
            x += 44.0 + 7.0 * name.chars().count() as f64;
        }
    }

    /// The notes of one system, cut at its ends.
    fn notes(&self, out: &mut String, pitches: &Pitches, from: f64, length: f64) {
        for (voice, (_, notes)) in self.voices.iter().enumerate() {
            let inside = |note: &&RollNote| note.onset < from + length && note.onset + note.duration > from;
            for note in notes.iter().filter(inside) {
                let given = if note.onset < self.given { " given" } else { "" };
                let start = (note.onset - from).max(0.0);
                let end = (note.onset + note.duration - from).min(length);
                // A hair between a note and the next of its pitch.
                let width = ((end - start) * QUARTER - 0.8).max(0.8);
                put!(
                    out,
                    r#"<rect class="f{}{given}" x="{:.1}" y="{:.1}" width="{width:.1}" height="{:.1}" rx="1.2"/>"#,
                    voice % COLOURS,
                    start * QUARTER,
                    pitches.y(note.pitch),
                    pitches.row
                );
            }
        }
        if self.given > from && self.given < from + length {
            let (x, bottom) = ((self.given - from) * QUARTER, pitches.height());
            put!(out, r#"<line class="c1" x1="{x:.1}" x2="{x:.1}" y1="-6" y2="{bottom:.1}"/>"#);
        }
    }
}

/// Bar lines with their numbers, and a line below each C.
fn staff(out: &mut String, pitches: &Pitches, system: usize, length: f64) {
    let (bottom, right) = (pitches.height(), length * QUARTER);
    let bars = length as usize / BAR;
    for bar in 0..=bars {
        let x = (bar * BAR) as f64 * QUARTER;
        put!(out, r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="0" y2="{bottom:.1}"/>"#);
        if bar < bars && bar % 4 == 0 {
            let number = system * (SYSTEM as usize / BAR) + bar + 1;
            put!(out, r#"<text class="pale" x="{x:.1}" y="{:.1}">{number}</text>"#, bottom + 15.0);
        }
    }
    for pitch in (pitches.low..=pitches.high).filter(|pitch| pitch % 12 == 0) {
        let y = pitches.y(pitch) + pitches.row;
        put!(out, r#"<line class="grid octave" x1="0" x2="{right:.1}" y1="{y:.1}" y2="{y:.1}"/>"#);
        let octave = i32::from(pitch) / 12 - 1;
        put!(out, r#"<text class="pale" x="-8" y="{y:.1}" text-anchor="end">C{octave}</text>"#);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roll(quarters: usize, given: f64) -> String {
        let note = |at: usize| RollNote { onset: at as f64, duration: 1.0, pitch: 60 + (at % 13) as u8 };
        let voices = vec![("a <b>".into(), (0..quarters).map(note).collect()), ("silent".into(), Vec::new())];
        Roll { title: "t & u".into(), subtitle: "s".into(), voices, given }.svg()
    }

    #[test]
    fn every_note_is_drawn_inside_its_system_and_what_was_given_is_paler() {
        let svg = roll(100, 30.0);
        let notes: Vec<&str> = svg.lines().filter(|line| line.contains(r#"rx="1.2""#)).collect();
        assert_eq!(notes.len(), 100);
        assert_eq!(notes.iter().filter(|line| line.contains("given")).count(), 30);
        for note in notes {
            let number = |name: &str| -> f64 {
                let from = note.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
                note[from..].split('"').next().unwrap().parse().unwrap()
            };
            assert!(number("x") >= 0.0 && number("x") + number("width") <= SYSTEM * QUARTER, "{note}");
            assert!(number("y") >= 0.0, "{note}");
        }
        assert_eq!(svg.matches("<g transform").count(), 2, "100 quarters are two systems");
        assert!(svg.contains("a &lt;b&gt;") && svg.contains(">C4<") && svg.contains(">C5<"), "{svg}");
    }

    #[test]
    fn nothing_and_very_much_are_drawn_too() {
        for svg in [roll(0, 0.0), roll(1, 9.0), roll(5000, 0.0)] {
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"));
        }
        assert!(roll(5000, 0.0).contains("the first systems"));
    }

    #[test]
    fn a_note_across_systems_is_in_both() {
        let voices = vec![("v".into(), vec![RollNote { onset: 60.0, duration: 10.0, pitch: 64 }])];
        let svg = Roll { title: "t".into(), subtitle: "s".into(), voices, given: 0.0 }.svg();
        assert_eq!(svg.matches(r#"rx="1.2""#).count(), 2, "{svg}");
    }
}
