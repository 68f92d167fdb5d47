use relin_kernels::rng::Rng;

use super::*;
use crate::data::music::{DRUMS, Note, Signature, Tempo, Track};

fn vocabularies() -> Vec<Vocabulary> {
    let of = |tokenization, programs| {
        Vocabulary::new(&MusicConfig { tokenization, programs, ..MusicConfig::default() })
    };
    vec![
        of(Tokenization::Grid, false),
        of(Tokenization::Remi, false),
        of(Tokenization::Remi, true),
        of(Tokenization::Events, false),
    ]
}

/// Tokens that the grammar allows, drawn at random.
fn walk(vocabulary: &Vocabulary, seed: u64, length: u64) -> Vec<u32> {
    let (rng, mut grammar) = (Rng::new(seed, 7), vocabulary.grammar());
    let mut tokens = Vec::new();
    for at in 0..length {
        let allowed: Vec<u32> =
            (0..vocabulary.size() as u32).filter(|&token| grammar.allows(token)).collect();
        assert!(!allowed.is_empty(), "{:?}: nothing may follow {tokens:?}", vocabulary.tokenization);
        let token = allowed[rng.below(at, allowed.len() as u64) as usize];
        grammar.push(token);
        tokens.push(token);
    }
    tokens
}

/// Notes at any tick, of several instruments.
fn random_score(seed: u64) -> Score {
    let rng = Rng::new(seed, 9);
    let below = |at: u64, bound: u64| rng.below(at, bound) as u32;
    let programs = [0, 0, 19, 33, 80, DRUMS];
    let track = |index: u64| {
        let base = 1000 * (index + 1);
        let note = |at: u64| Note {
            onset: below(base + 4 * at, 6000),
            duration: 1 + below(base + 4 * at + 1, 1500),
            pitch: below(base + 4 * at + 2, 128) as u8,
            velocity: 1 + below(base + 4 * at + 3, 127) as u8,
        };
        let notes = (0..1 + rng.below(base + 999, 30)).map(note).collect();
        Track::new("", programs[rng.below(base + 998, 6) as usize], notes)
    };
    let signatures = [(4, 4), (3, 4), (6, 8), (5, 16), (2, 2), (1, 16)];
    let (numerator, denominator) = signatures[below(1, 6) as usize];
    Score {
        tracks: (0..1 + rng.below(0, 5)).map(track).chain([track(50)]).collect(),
        tempos: (0..4)
            .map(|at| Tempo { at: 700 * at, micros: 200_000 + below(20 + u64::from(at), 1_500_000) })
            .collect(),
        signatures: vec![Signature { at: below(2, 3000), numerator, denominator }],
    }
}

#[test]
fn whatever_the_grammar_allows_is_a_score_that_its_tokens_keep() {
    for vocabulary in vocabularies() {
        for seed in 0..60 {
            let tokens = walk(&vocabulary, seed, 40 + 5 * seed);
            let score = vocabulary.decode(&tokens);
            if score.notes().next().is_none() {
                continue;
            }
            let again = vocabulary.encode(&score).unwrap();
            let names: Vec<String> = tokens.iter().map(|&token| vocabulary.name(token)).collect();
            assert_eq!(vocabulary.decode(&again), score, "seed {seed}: {names:?}");
            let mut grammar = vocabulary.grammar();
            for &token in &again {
                assert!(grammar.allows(token), "{} in {again:?}", vocabulary.name(token));
                grammar.push(token);
            }
        }
    }
}

#[test]
fn any_score_is_moved_to_the_lattice_once() {
    for vocabulary in vocabularies() {
        for seed in 0..100 {
            let Ok(tokens) = vocabulary.encode(&random_score(seed)) else {
                assert!(!vocabulary.programs, "only drums can be left out");
                continue;
            };
            assert!(tokens.iter().all(|&token| token != BEGIN && (token as usize) < vocabulary.size()));
            let score = vocabulary.decode(&tokens);
            assert_eq!(vocabulary.encode(&score).unwrap(), tokens, "{:?} {seed}", vocabulary.tokenization);
            let mut grammar = vocabulary.grammar();
            for &token in &tokens {
                assert!(grammar.allows(token), "{}", vocabulary.name(token));
                grammar.push(token);
            }
        }
    }
}

#[test]
fn no_tokens_make_decoding_panic() {
    for vocabulary in vocabularies() {
        let rng = Rng::new(1, 1);
        for seed in 0..200 {
            // Ids beyond the vocabulary included.
            let tokens: Vec<u32> =
                (0..60).map(|at| rng.below(100 * seed + at, vocabulary.size() as u64 + 40) as u32).collect();
            let score = vocabulary.decode(&tokens);
            assert!(score.notes().all(|note| note.duration > 0 && note.pitch < 128 && note.velocity > 0));
        }
    }
}

#[test]
fn transposing_tokens_is_transposing_the_score() {
    for vocabulary in vocabularies() {
        for seed in 0..30 {
            let mut score = random_score(seed);
            // Away from the ends, where nothing is cut off.
            for note in score.tracks.iter_mut().flat_map(|track| &mut track.notes) {
                note.pitch = 30 + note.pitch % 60;
            }
            let score = Score {
                tracks: score.tracks.into_iter().map(|t| Track::new(t.name, t.program, t.notes)).collect(),
                ..score
            };
            let Ok(tokens) = vocabulary.encode(&score) else { continue };
            let moved: Vec<u32> = tokens.iter().map(|&token| vocabulary.transpose(token, -5)).collect();
            let mut expected = vocabulary.decode(&tokens);
            for track in expected.tracks.iter_mut().filter(|track| !track.is_drums()) {
                track.notes.iter_mut().for_each(|note| note.pitch -= 5);
            }
            assert_eq!(vocabulary.decode(&moved), expected, "{:?} {seed}", vocabulary.tokenization);
        }
    }
}

#[test]
fn ranges_bound_what_may_begin_and_nothing_that_ends() {
    for mut vocabulary in vocabularies() {
        vocabulary.ranges = vec![Some((60, 62)); vocabulary.parts().len()];
        vocabulary.ranges[0] = None;
        let tokens = walk(&vocabulary, 3, 400);
        let mut found: Vec<_> = tokens.iter().filter_map(|&token| vocabulary.pitch_of(token)).collect();
        found.sort_unstable();
        found.dedup();
        // Without its only part without drums, `remi` has drums at most.
        assert!(!found.is_empty() || vocabulary.tokenization == Tokenization::Remi);
        assert!(found.iter().all(|&(part, pitch)| part > 0 && (60..=62).contains(&pitch)), "{found:?}");
    }
    let events = &vocabularies()[3];
    let (on, off) = (events.encode(&random_score(1)).unwrap(), events);
    let narrow = Vocabulary { ranges: vec![Some((0, 1)); 3], ..off.clone() };
    let mut grammar = narrow.grammar();
    for &token in &on {
        let ends = events.name(token).contains("-off-");
        assert!(!ends || grammar.allows(token), "what sounds may end: {}", events.name(token));
        grammar.push(token);
    }
}

#[test]
fn a_vocabulary_comes_back_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("music.json");
    for mut vocabulary in vocabularies() {
        vocabulary.ranges[0] = None;
        std::fs::write(&path, vocabulary.document()).unwrap();
        assert_eq!(Vocabulary::load(&path).unwrap(), vocabulary);
    }
    for (from, to, words) in [
        ("\"relin_music\": 1", "\"relin_music\": 2", "version 2"),
        ("\"events\"", "\"evnts\"", "evnts"),
        ("\"ranges\": [", "\"ranges\": [null,", "expected 3, one for each part, found 4"),
        ("127", "128", "0 to 127"),
    ] {
        let text = vocabularies()[3].document().replacen(from, to, 1);
        std::fs::write(&path, text).unwrap();
        let error = Vocabulary::load(&path).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    assert!(Vocabulary::load(&folder.path().join("none.json")).is_err());
}

#[test]
fn names_are_different_and_the_first_is_the_beginning() {
    for vocabulary in vocabularies() {
        let names: Vec<String> = (0..vocabulary.size() as u32).map(|token| vocabulary.name(token)).collect();
        let different: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!((different.len(), &*names[0]), (names.len(), "begin"));
    }
}
