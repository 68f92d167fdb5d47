//! Pictures made, written and read.

use std::collections::HashSet;

use super::*;
use crate::data::Input;
use crate::recipe::{Recipe, Sources};

fn recipe(source: Option<&Path>) -> Recipe {
    let mut recipe = Recipe::default();
    recipe.model.patch_size = Some(4);
    recipe.data.context = 64;
    recipe.data.pathfinder =
        PathfinderConfig { contour_length: 6, examples: 30, held_out: 10, ..PathfinderConfig::default() };
    if let Some(source) = source {
        recipe.data.source = Sources(vec![source.display().to_string()]);
    }
    recipe
}

fn pixels(set: &Pathfinder) -> Vec<Vec<i32>> {
    let one = |at| {
        let Input::Patches { values, .. } = set.batch(&[at], None).input else {
            panic!("images are patches")
        };
        values.iter().map(|x| ((x + 1.0) * 127.5).round() as i32).collect()
    };
    (0..set.len()).map(one).collect()
}

const PARTS: [Part; 3] = [Part::Training, Part::Validation, Part::Test];

#[test]
fn parts_are_balanced_depend_on_the_seed_alone_and_share_no_picture() {
    let sets = PARTS.map(|part| Pathfinder::open(&recipe(None), part).unwrap());
    assert_eq!(sets.each_ref().map(Labelled::len), [30, 10, 10]);
    for set in &sets {
        assert_eq!(2 * (0..set.len()).filter(|&at| set.label(at) == 1).count(), set.len());
    }
    let all: Vec<_> = sets.iter().flat_map(pixels).collect();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 50);
    let mut more = recipe(None);
    more.data.pathfinder.examples = 40;
    assert_eq!(Pathfinder::open(&more, Part::Test).unwrap(), sets[2]);
    more.train.seed = 1;
    assert_ne!(Pathfinder::open(&more, Part::Test).unwrap(), sets[2]);
}

#[test]
fn every_size_and_published_length_can_be_made() {
    for (size, contour_length) in [(32, 6), (32, 9), (32, 14), (48, 14), (64, 14), (128, 14), (256, 14)] {
        let config = PathfinderConfig { size, contour_length, ..PathfinderConfig::default() };
        let (pixels, joined) = config.draw(0, 3).unwrap_or_else(|| panic!("{size}, {contour_length}"));
        assert_eq!((pixels.len(), joined), (size * size, true));
        let bright = pixels.iter().filter(|&&pixel| pixel == 255).count() as f64;
        let paddles = pixels.iter().filter(|&&pixel| (1..=191).contains(&pixel)).count();
        let area = 2.0 * std::f64::consts::PI * config.geometry().marker.powi(2);
        // Pixels on the edges of the discs are covered in part.
        assert!(bright > 0.15 * area && bright < area, "two discs: {bright} of {area}");
        assert!(paddles > contour_length, "{paddles}");
    }
}

/// The mark at the last end of a contour says nothing of the label by its place.
#[test]
fn the_distance_of_the_marks_tells_little() {
    let (geometry, n) = (PathfinderConfig::default().geometry(), 2000);
    let grown = (0..n).filter_map(|at| Contours::grow(&geometry, Rng::new(5, at)));
    let distances: Vec<[f64; 2]> = grown
        .map(|contours| {
            [true, false].map(|joined| {
                let [first, last] = contours.marked(joined, geometry.paddle);
                contours::distance(first, [last; 2])
            })
        })
        .collect();
    let below = |limit: f64, which: usize| distances.iter().filter(|d| d[which] < limit).count() as f64;
    let share = |which| below(12.0, which) / distances.len() as f64;
    assert!(distances.len() > 100, "{}", distances.len());
    assert!((share(0) - share(1)).abs() < 0.15, "joined {}, apart {}", share(0), share(1));
}

#[test]
fn what_is_written_is_read_again_in_tenths() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, sha256) = write(folder.path(), 20, 32, 4).unwrap();
    assert!(bytes > 2000 && sha256.len() == 64);
    let mut made = recipe(None);
    made.train.seed = 4;
    made.data.pathfinder = PathfinderConfig { held_out: 10, examples: 1, ..PathfinderConfig::default() };
    let first: Vec<_> = pixels(&Pathfinder::open(&made, Part::Test).unwrap());
    let read = recipe(Some(folder.path()));
    let sets = PARTS.map(|part| Pathfinder::open(&read, part).unwrap());
    assert_eq!(sets.each_ref().map(Labelled::len), [16, 2, 2]);
    assert_eq!(pixels(&sets[0])[..10], first);
    assert_eq!(Pathfinder::read(folder.path(), &read, None).unwrap().len(), 20);
}

#[test]
fn published_folders_are_found_and_their_empty_file_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("pathfinder32/curv_baseline");
    write(&inside, 12, 32, 0).unwrap();
    std::fs::write(inside.join("imgs/0/sample_5.png"), "").unwrap();
    assert_eq!(Pathfinder::read(folder.path(), &recipe(None), None).unwrap().len(), 11);
}

#[test]
fn what_is_wrong_with_a_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = || Pathfinder::read(folder.path(), &recipe(None), None).unwrap_err().to_string();
    let says = |words: &[&str]| {
        let error = refusal();
        words.iter().for_each(|word| assert!(error.contains(word), "no `{word}` in: {error}"));
    };
    says(&["curv_baseline/metadata", "pathfinder32"]);
    write(folder.path(), 2, 32, 0).unwrap();
    let metadata = |text: &[u8]| std::fs::write(folder.path().join("metadata/0.npy"), text).unwrap();
    for (text, words) in [
        (&b"imgs/0 sample_0.png 0\n"[..], &["0.npy, line 1", "found 3 fields"][..]),
        (b"imgs/0 sample_0.png 0 1\n\nimgs/0 sample_1.png 1 2\n", &["0.npy, line 3", "`2`"]),
        (b"imgs/0 sample_7.png 0 1\n", &["sample_7.png"]),
        (b"\x93NUMPY\x01", &["0.npy", "numpy"]),
        (b"", &["no text"]),
    ] {
        metadata(text);
        says(words);
    }
    metadata(b"imgs/0 sample_0.png 0 1\n");
    std::fs::write(folder.path().join("imgs/0/sample_0.png"), "no picture").unwrap();
    says(&["sample_0.png"]);
    write(&folder.path().join("other"), 1, 48, 0).unwrap();
    std::fs::copy(folder.path().join("other/imgs/0/sample_0.png"), folder.path().join("imgs/0/sample_0.png"))
        .unwrap();
    metadata(b"imgs/0 sample_1.png 0 1\nimgs/0 sample_0.png 0 1\n");
    says(&["sample_0.png", "48x48", "32x32"]);
}

#[test]
fn contours_that_fit_no_window_are_refused() {
    let mut long = recipe(None);
    long.data.pathfinder.contour_length = 200;
    long.data.pathfinder.held_out = 1;
    let error = Pathfinder::open(&long, Part::Test).unwrap_err().to_string();
    assert!(error.contains("200 paddles") && error.contains("32x32"), "{error}");
    let mut patches = recipe(None);
    patches.data.context = 63;
    let error = Pathfinder::open(&patches, Part::Test).unwrap_err().to_string();
    assert!(error.contains("64 patches") && error.contains("63"), "{error}");
}
