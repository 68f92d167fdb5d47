//! `listops`: what a nested list of digits is worth.

use std::path::Path;

use super::classification::Open;
use crate::data::{ListOps, Part};
use crate::recipe::Recipe;
use crate::train::TrainError;

impl Open for ListOps {
    fn open(recipe: &mut Recipe, _folder: &Path, _resuming: bool) -> Result<(Self, Self), TrainError> {
        let part = |part| Self::open(&recipe.data, recipe.train.seed, part);
        let both = (part(Part::Training)?, part(Part::Validation)?);
        recipe.model.labels = Some(Self::classes());
        recipe.resolve(Some(recipe.data.listops.tokens.count()));
        Ok(both)
    }
}
