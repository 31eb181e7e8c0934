mod batches;
mod comparison;
mod rig;
mod rows;
mod swaps;
mod text;
mod urls;
mod walk;
