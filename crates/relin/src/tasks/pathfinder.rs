//! `pathfinder`: whether two marked ends belong to the same dashed contour.

use std::path::Path;

use super::classification::Open;
use crate::data::{Part, Pathfinder};
use crate::recipe::Recipe;
use crate::train::TrainError;

impl Open for Pathfinder {
    fn open(recipe: &mut Recipe, _folder: &Path, _resuming: bool) -> Result<(Self, Self), TrainError> {
        let both = (Self::open(recipe, Part::Training)?, Self::open(recipe, Part::Validation)?);
        recipe.model.labels = Some(Self::classes());
        recipe.resolve(None);
        Ok(both)
    }
}
