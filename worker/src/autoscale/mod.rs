//! How many worker processes a load needs.
//!
//! [`Sample::take`] asks a broker how queues stand, [`Watch`] makes a [`Load`] of such samples, and [`Scaler`] says from loads how many
//! worker processes there are to be. Nothing here starts or ends any, or waits: `worker --autoscale` does, and
//! `manyhands workers wanted` prints the number for whoever else does.

mod bounds;
mod load;
mod rule;
mod sample;

pub use self::{
    bounds::{Bounds, MAX_PROCESSES},
    load::{Load, Watch},
    rule::{Scaler, Staff, need},
    sample::{QueueSample, Sample},
};
