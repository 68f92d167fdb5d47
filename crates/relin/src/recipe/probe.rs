//! `[data.probe]`: what a made sequence asks.

use serde::{Deserialize, Serialize};

/// What a probe asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// Which symbol stood ℓ tokens ago?
    #[default]
    LagRetrieval,
    /// The first half once more.
    Copy,
    /// The few symbols among blanks, once more and in order.
    SelectiveCopy,
    /// What followed this token the last time?
    Induction,
    /// Which value stood beside this key?
    AssociativeRecall,
    /// Which symbol is on the left, or on the right? Asked of a model without causal mask.
    Direction,
}

/// A probe: sequences made from the seed, with exact answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeConfig {
    /// What is asked.
    pub kind: ProbeKind,
    /// Different symbols.
    pub symbols: usize,
    /// Lags from 1 to this are asked for (`lag-retrieval`).
    pub lags: usize,
    /// Symbols among the blanks (`selective-copy`), pairs of a key and a value (`associative-recall`).
    pub items: usize,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self { kind: ProbeKind::default(), symbols: 16, lags: 16, items: 8 }
    }
}

impl ProbeConfig {
    /// Whether the model reads from left to right.
    pub fn is_causal(&self) -> bool {
        self.kind != ProbeKind::Direction
    }

    /// Different tokens: symbols, and those that ask or separate.
    pub fn tokens(&self) -> usize {
        match self.kind {
            ProbeKind::LagRetrieval => self.symbols + self.lags,
            ProbeKind::Copy | ProbeKind::Induction => self.symbols + 1,
            ProbeKind::SelectiveCopy | ProbeKind::Direction => self.symbols + 2,
            ProbeKind::AssociativeRecall => 2 * self.symbols + 1,
        }
    }

    /// Share of right answers of a model that knows all symbols in question but not which is meant: one in `symbols`;
    /// for `direction`, where there are two neighbours, one in two.
    pub fn chance(&self) -> f64 {
        match self.kind {
            ProbeKind::Direction => 0.5,
            _ => 1.0 / self.symbols as f64,
        }
    }

    /// Tokens of the shortest sequence. Where questions come at random, seven sequences in eight have one from 8 tokens
    /// on; a batch without any teaches nothing.
    pub fn least_length(&self) -> usize {
        let items = match self.kind {
            ProbeKind::SelectiveCopy => 2 * self.items,
            ProbeKind::AssociativeRecall => 2 * self.items + 8,
            _ => 0,
        };
        items.max(8)
    }
}
