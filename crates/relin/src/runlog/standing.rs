//! Whether a folder is free for a recipe, holds its run, or holds another's.

use std::path::Path;

use super::{METRICS_FILE, RunlogError, read_metrics};
use crate::recipe::Recipe;
use crate::train::events::{Done, Event};

/// Name of the resolved recipe in a run's folder; it is written first, so it marks a run.
pub const RECIPE_FILE: &str = "recipe.toml";

/// What to do with an unfinished run in the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// Go on where it stopped.
    #[default]
    Auto,
    /// Begin anew.
    None,
}

/// What a recipe finds in its folder.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// No run, or one that may be replaced.
    Free,
    /// This recipe's run, unfinished.
    Unfinished,
    /// This recipe's run, finished.
    Finished(Done),
}

/// What `recipe` finds in `folder`.
///
/// # Errors
/// If the folder holds another recipe's run that is finished, or unfinished and not given up by [`Resume::None`];
/// or if its records cannot be read.
pub fn standing(folder: &Path, recipe: &Recipe, resume: Resume) -> Result<Standing, RunlogError> {
    let stated = folder.join(RECIPE_FILE);
    if !stated.is_file() {
        return Ok(Standing::Free);
    }
    let there = Recipe::read_recorded(&stated)
        .map_err(|source| RunlogError::UnreadableRun { folder: folder.into(), source })?;
    let done = finished(folder)?;
    if there.fingerprint() == recipe.fingerprint() {
        return Ok(match (done, resume) {
            (_, Resume::None) => Standing::Free,
            (Some(done), Resume::Auto) => Standing::Finished(done),
            (None, Resume::Auto) => Standing::Unfinished,
        });
    }
    let (state, remedy) = match (done, resume) {
        (Some(_), _) => ("a finished", ""),
        (None, Resume::Auto) => ("an unfinished", ", or replace it with `--resume none`"),
        (None, Resume::None) => return Ok(Standing::Free),
    };
    let differences = there.differences(recipe).join("; ");
    Err(RunlogError::OtherRecipe { folder: folder.into(), state, remedy, differences })
}

fn finished(folder: &Path) -> Result<Option<Done>, RunlogError> {
    let last = read_metrics(&folder.join(METRICS_FILE))?.pop();
    Ok(last.and_then(|event| if let Event::Done(done) = event { Some(done) } else { None }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runlog::MetricsLog;

    fn done() -> Done {
        Done {
            run: "r".into(),
            steps: 1,
            train_loss: 1.0,
            valid_loss: 1.0,
            valid_accuracy: None,
            tokens_per_second: 1.0,
            seconds: 1.0,
            parameters: 1,
        }
    }

    #[test]
    fn a_folder_belongs_to_one_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mine) = (folder.path(), Recipe::default());
        let mut other = Recipe::default();
        other.train.seed = 1;
        let find = |recipe: &Recipe, resume| standing(path, recipe, resume);
        assert_eq!(find(&mine, Resume::Auto).unwrap(), Standing::Free);

        let mut resolved = mine.clone();
        resolved.resolve(Some(256));
        std::fs::write(path.join(RECIPE_FILE), resolved.to_toml().unwrap()).unwrap();
        assert_eq!(find(&mine, Resume::Auto).unwrap(), Standing::Unfinished);
        assert_eq!(find(&mine, Resume::None).unwrap(), Standing::Free);
        let refusal = find(&other, Resume::Auto).unwrap_err().to_string();
        assert!(refusal.contains("an unfinished") && refusal.contains("train.seed: 0, 1"), "{refusal}");
        assert_eq!(find(&other, Resume::None).unwrap(), Standing::Free);

        // As a build wrote it that did not know the key, when another default held in effect.
        let text = resolved.to_toml().unwrap();
        let before_the_key = text.replace("angle_optimizer = \"adamw-squared\"\n", "");
        assert_ne!(before_the_key, text);
        std::fs::write(path.join(RECIPE_FILE), before_the_key).unwrap();
        let refusal = find(&mine, Resume::Auto).unwrap_err().to_string();
        assert!(refusal.contains("train.angle_optimizer: \"adamw\", \"adamw-squared\""), "{refusal}");
        std::fs::write(path.join(RECIPE_FILE), text).unwrap();

        MetricsLog::create(&path.join(METRICS_FILE)).unwrap().write(&Event::Done(done())).unwrap();
        assert_eq!(find(&mine, Resume::Auto).unwrap(), Standing::Finished(done()));
        for resume in [Resume::Auto, Resume::None] {
            let refusal = find(&other, resume).unwrap_err().to_string();
            assert!(refusal.contains("a finished run of another recipe"), "{refusal}");
        }
    }
}
