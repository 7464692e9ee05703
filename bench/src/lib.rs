//! The perf lab.
