//! The binary: parse, dispatch, print the error chain, choose the exit code.

fn main() {}
