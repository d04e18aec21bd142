#![recursion_limit = "256"]
use std::sync::{Arc, atomic::AtomicBool};
use std::time::Instant;
use vqgen::{checkpoint::*, data::*, recipe::*, training::*};
#[global_allocator]
static A: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() {
    let pool = std::env::var("POOL").is_ok();
    if pool {
        rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap().install(go)
    } else {
        go()
    }
}
fn go() {
    let sets: Vec<Override> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let recipe = Recipe::parse("{}", "dev", &sets).unwrap();
    let t = Instant::now();
    let dataset = Arc::new(Dataset::open(&recipe.data, false).unwrap());
    println!("data {:?} {:?}", t.elapsed(), dataset.report());
    let device = burn::tensor::Device::flex();
    let run = RunDir::new(std::env::var("RUN").unwrap_or("/tmp/run-dev".into()));
    let stop = AtomicBool::new(false);
    let t = Instant::now();
    let mut emit = |e: Event| match e {
        Event::Stepped { .. } | Event::Preview { .. } => {}
        e => println!("{:.1} {e:?}", t.elapsed().as_secs_f64()),
    };
    let r = vqvae::train_vqvae(
        &recipe,
        &dataset,
        &device,
        Job { run: &run, begin: Begin::Either, stop: &stop, emit: &mut emit },
    );
    println!("{r:?}");
}
