//! The training loop.

use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::module::Module;
use burn::tensor::Device;
use relin_kernels::linear_attention::Normalizer;

use super::events::{Done, Eval, Event, Observer, Outcome, Start, Step};
use super::learner::Learner;
use super::optimizer::Optimizer;
use super::state::{self, Progress, StateError};
use crate::data::{DataError, LabelledImages, LabelledTexts, ListOps, Pathfinder};
use crate::hub::{self, HubError, WEIGHTS_FILE, write_weights};
use crate::model::{CausalLm, MaskedLm, ModelError, Network, count_parameters, named_tensors};
use crate::recipe::{self, Recipe, RecipeError};
use crate::runlog::{METRICS_FILE, MetricsLog, RECIPE_FILE, Resume, RunlogError, TensorBoard, write_atomic};
use crate::tasks::{
    Classification, LanguageModel, MaskedLanguageModel, MusicModel, Probe, SequenceToSequence, Task,
};
use crate::tokenizer::TokenizerError;

/// Why training ended without a result. What was saved before stays.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The network.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer of the run that is resumed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The run's folder.
    #[error("cannot create {}", path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the run.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A record of the run.
    #[error(transparent)]
    Runlog(#[from] RunlogError),
    /// A saved state.
    #[error(transparent)]
    State(#[from] StateError),
    /// Numbers that are not finite.
    #[error(
        "training diverged at step {step}: {place} is not finite; try a lower train.learning_rate, more train.warmup_steps or another model.normalizer"
    )]
    Diverged {
        /// The update that was being made.
        step: usize,
        /// First part of the model that gave them.
        place: String,
    },
}

/// Trains a recipe in the folder `out`, going on where a former call stopped.
///
/// Equal recipes give equal weights, to the byte, whether or not they were interrupted, for a given number of
/// threads: batches, dropout and initial weights are pure functions of the seed, and every sum has a fixed order.
///
/// # Errors
/// See [`TrainError`].
pub fn train(
    recipe: &Recipe,
    out: &Path,
    resume: Resume,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    match recipe.task {
        recipe::Task::CausalLm => train_task::<LanguageModel>(recipe, out, resume, observer),
        recipe::Task::SequenceToSequence => train_task::<SequenceToSequence>(recipe, out, resume, observer),
        recipe::Task::Music => train_task::<MusicModel>(recipe, out, resume, observer),
        recipe::Task::MaskedLm => train_task::<MaskedLanguageModel>(recipe, out, resume, observer),
        recipe::Task::Probe if recipe.data.probe.is_causal() => {
            train_task::<Probe<CausalLm>>(recipe, out, resume, observer)
        }
        recipe::Task::Probe => train_task::<Probe<MaskedLm>>(recipe, out, resume, observer),
        recipe::Task::TextClassification | recipe::Task::TextRegression => {
            train_task::<Classification<LabelledTexts>>(recipe, out, resume, observer)
        }
        recipe::Task::ImageClassification => {
            train_task::<Classification<LabelledImages>>(recipe, out, resume, observer)
        }
        recipe::Task::ListOps => train_task::<Classification<ListOps>>(recipe, out, resume, observer),
        recipe::Task::Pathfinder => train_task::<Classification<Pathfinder>>(recipe, out, resume, observer),
    }
}

fn train_task<T: Task>(
    recipe: &Recipe,
    out: &Path,
    resume: Resume,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let mut run = Run::<T>::open(recipe, out, resume, observer)?;
    observer.started(&Start {
        step: run.progress.step,
        steps: run.recipe.train.steps,
        parameters: run.parameters,
        tokens_per_step: run.targets_per_update(),
    });
    while run.progress.step < run.recipe.train.steps {
        run.update()?;
        run.report(observer)?;
        if run.is_due(run.recipe.train.eval_every) {
            run.evaluate(observer)?;
        }
        let stop = observer.should_stop() && run.progress.step < run.recipe.train.steps;
        if stop || run.is_due(run.recipe.train.save_every) {
            run.save()?;
        }
        if stop {
            return Ok(Outcome::Stopped { step: run.progress.step });
        }
    }
    run.finish()
}

/// A run in progress.
struct Run<T: Task> {
    recipe: Recipe,
    fingerprint: String,
    out: PathBuf,
    task: T,
    learner: Learner<T::Model>,
    parameters: usize,
    progress: Progress,
    metrics: MetricsLog,
    board: TensorBoard,
    /// When this process began, less the seconds of former ones.
    began: Instant,
    former_seconds: f64,
    first_step: usize,
    last_report: (Instant, usize),
}

impl<T: Task> Run<T> {
    fn open(
        recipe: &Recipe,
        out: &Path,
        resume: Resume,
        observer: &mut dyn Observer,
    ) -> Result<Self, TrainError> {
        let mut recipe = recipe.clone();
        recipe.warnings().iter().for_each(|warning| observer.warning(warning));
        let unwritable = |source| TrainError::Folder { path: out.into(), source };
        std::fs::create_dir_all(out).map_err(unwritable)?;
        let resuming = resume == Resume::Auto && out.join(RECIPE_FILE).is_file();
        let task = T::open(&mut recipe, out, resuming)?;
        task.warnings().iter().for_each(|warning| observer.warning(warning));
        recipe.check()?;
        let model = T::model(&recipe, &Device::flex().autodiff())?;
        let model = match &recipe.train.init_from {
            Some(folder) => hub::adopt(model, &recipe.model, folder)?,
            None => model,
        };
        let mut optimizer = Optimizer::new(&model);
        if !resuming {
            state::clear(out);
        }
        write_atomic(&out.join(RECIPE_FILE), recipe.to_toml()?.as_bytes())?;
        hub::write_static::<T::Model>(out, &recipe.model)?;
        let fingerprint = recipe.fingerprint();
        let (model, progress, warnings) = state::load(out, &fingerprint, model, &mut optimizer);
        warnings.iter().for_each(|warning| observer.warning(warning));
        let metrics = MetricsLog::resume(&out.join(METRICS_FILE), progress.step)?;
        Ok(Self {
            parameters: count_parameters(&model),
            board: TensorBoard::create(&out.join("tensorboard"))?,
            began: Instant::now(),
            former_seconds: progress.seconds,
            first_step: progress.step,
            last_report: (Instant::now(), progress.step),
            out: out.into(),
            learner: Learner::resume(model, optimizer),
            recipe,
            fingerprint,
            task,
            progress,
            metrics,
        })
    }

    fn targets_per_update(&self) -> usize {
        self.task.tokens_per_batch(&self.recipe) * self.recipe.train.gradient_accumulation
    }

    fn seconds(&self) -> f64 {
        self.former_seconds + self.began.elapsed().as_secs_f64()
    }

    /// Every so many updates, and at the end.
    fn is_due(&self, every: usize) -> bool {
        let step = self.progress.step;
        step == self.recipe.train.steps || (every > 0 && step.is_multiple_of(every))
    }

    fn update(&mut self) -> Result<(), TrainError> {
        let (recipe, task) = (&self.recipe, &self.task);
        let step = self.progress.step + 1;
        let loss = self.learner.update(&recipe.train, step, |micro| task.batch(recipe, step, micro))?;
        self.progress.step = step;
        self.progress.pending_loss += loss;
        self.progress.pending_updates += 1;
        Ok(())
    }

    fn report(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        if !self.is_due(self.recipe.train.log_every) || self.progress.pending_updates == 0 {
            return Ok(());
        }
        let Progress { step, pending_loss, pending_updates, .. } = self.progress;
        let loss = pending_loss / pending_updates as f64;
        let (since, from) = self.last_report;
        let targets = (step - from) * self.targets_per_update();
        let event = Step {
            step,
            loss,
            learning_rate: self.recipe.train.learning_rate(step),
            tokens_per_second: targets as f64 / since.elapsed().as_secs_f64().max(1e-9),
        };
        self.last_report = (Instant::now(), step);
        (self.progress.pending_loss, self.progress.pending_updates) = (0.0, 0);
        self.progress.train_loss = Some(loss);
        self.board.scalars(step, &[("loss/train", loss), ("learning_rate", event.learning_rate)])?;
        observer.step(&event);
        Ok(self.metrics.write(&Event::Step(event))?)
    }

    fn evaluate(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let score = self.task.evaluate(&self.recipe, &self.learner.model().valid())?;
        let event = Eval {
            step: self.progress.step,
            valid_loss: score.loss,
            valid_accuracy: score.accuracy,
            clamped: self.clamped()?,
        };
        self.board.scalars(event.step, &[("loss/validation", event.valid_loss)])?;
        if self.progress.best_loss.is_none_or(|best| event.valid_loss < best) {
            self.progress.best_loss = Some(event.valid_loss);
            self.progress.best_accuracy = event.valid_accuracy;
            write_weights(&self.out.join(WEIGHTS_FILE), named_tensors(self.learner.model()))?;
        }
        observer.eval(&event);
        self.metrics.write(&Event::Eval(event))?;
        // The time of an evaluation counts for no training step.
        self.last_report.0 = Instant::now();
        Ok(())
    }

    /// The share of the denominators of the latest batch that did not reach ε, as the model is now.
    fn clamped(&self) -> Result<Option<f64>, TrainError> {
        if self.recipe.model.normalizer != Normalizer::Encoded {
            return Ok(None);
        }
        let batch = self.task.batch(&self.recipe, self.progress.step, 0)?;
        let [clamped, all] = self.learner.model().valid().clamped(&batch);
        Ok((all > 0).then(|| clamped as f64 / all as f64))
    }

    fn save(&mut self) -> Result<(), TrainError> {
        self.progress.seconds = self.seconds();
        if self.progress.best_loss.is_none() {
            write_weights(&self.out.join(WEIGHTS_FILE), named_tensors(self.learner.model()))?;
        }
        let keep = self.recipe.train.keep_checkpoints;
        Ok(state::save(
            &self.out,
            &self.fingerprint,
            &self.progress,
            self.learner.model(),
            self.learner.optimizer(),
            keep,
        )?)
    }

    fn finish(mut self) -> Result<Outcome, TrainError> {
        let updates = self.progress.step - self.first_step;
        let own_seconds = self.began.elapsed().as_secs_f64();
        let done = Done {
            run: self.out.clone(),
            steps: self.progress.step,
            train_loss: self.progress.train_loss.unwrap_or(f64::NAN),
            valid_loss: self.progress.best_loss.unwrap_or(f64::NAN),
            valid_accuracy: self.progress.best_accuracy,
            tokens_per_second: (updates * self.targets_per_update()) as f64 / own_seconds.max(1e-9),
            seconds: self.seconds(),
            parameters: self.parameters,
        };
        self.metrics.write(&Event::Done(done.clone()))?;
        Ok(Outcome::Finished(done))
    }
}
