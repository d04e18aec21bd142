//! The Python code of `docs/python.md` gives the same pixels as vqgen, and vqgen reads what PyTorch writes. Needs `python3` with PyTorch, Pillow and
//! safetensors (`VQGEN_PYTHON` names another interpreter); without them it is skipped with a message.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "support/workshop.rs"]
mod workshop;

use std::process::Command;

use workshop::{Workshop, bytes};

/// What [`vqgen::checkpoint::read_foreign`] is to read: two formats, strides, tied and half tensors, and what is none.
const SAVE: &str = r#"
import sys, torch
from safetensors.torch import save_file
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5), torch.nn.Linear(4, 6))
state = net.state_dict()
state["strided"] = torch.randn(4, 3).t()
state["part"] = torch.randn(50)[7:20:3]
state["half"] = torch.randn(3, 2).half()
state["scalar"] = torch.tensor(2.5)
state["empty"] = torch.zeros(0, 3)
state["long"] = torch.arange(3)
state["parameter"] = torch.nn.Parameter(torch.randn(2))
state["tied"] = state["0.weight"]
folder = sys.argv[1]
for protocol in (2, 3, 4):
    torch.save(state, f"{folder}/zip-{protocol}.pth", pickle_protocol=protocol)
    torch.save(state, f"{folder}/old-{protocol}.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=False)
torch.save({"epoch": 3, "state_dict": state, "optimizer": {"lr": .1}}, f"{folder}/training.pth")
save_file({name: value.detach().clone().contiguous() for name, value in state.items()}, f"{folder}/all.safetensors")
"#;

#[test]
fn what_torch_saves_is_read_as_safetensors_are() {
    let python = std::env::var("VQGEN_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let run = |arguments: &[&str]| Command::new(&python).args(arguments).output();
    let imports = "import torch, safetensors";
    if !run(&["-c", imports]).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {python} cannot `{imports}`");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["-c", SAVE, folder.path().to_str().unwrap()]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: String| vqgen::checkpoint::read_foreign(folder.path().join(name)).unwrap();
    let wanted = read("all.safetensors".to_owned());
    // 8 of the layers and 7 more; not the two that hold whole numbers.
    assert_eq!(wanted.len(), 15);
    assert_eq!(read("training.pth".to_owned()), wanted);
    for protocol in [2, 3, 4] {
        assert_eq!(read(format!("zip-{protocol}.pth")), wanted, "{protocol}");
        assert_eq!(read(format!("old-{protocol}.pth")), wanted, "{protocol}");
    }
}

#[test]
fn the_documented_decoder_gives_the_pixels_of_vqgen() {
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/python.md")).unwrap();
    let (_, block) = document.split_once("```python\n").unwrap();
    let (script, _) = block.split_once("```").unwrap();
    let python = std::env::var("VQGEN_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let run = |arguments: &[&str]| Command::new(&python).args(arguments).output();
    let imports = "import torch, numpy, PIL, safetensors";
    if !run(&["-c", imports]).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {python} cannot `{imports}`");
        return;
    }

    for keys in [
        &[][..],
        &["normalize_codes=true", "codebook=simvq"],
        &["quantizer=residual", "depth=3"],
        &["quantizer=residual", "depth=2", "codebook=simvq"],
        &["quantizer=fsq", "levels=[5,4,3]"],
    ] {
        compare(keys, &python, script);
    }
}

/// Trains with these keys of `vqvae` on top of the tiny recipe, and compares the pixels of the held-out images.
fn compare(keys: &[&str], python: &str, script: &str) {
    let run = |arguments: &[&str]| Command::new(python).args(arguments).output();
    let shop = Workshop::new();
    let is_fsq = keys.contains(&"quantizer=fsq");
    let left_out = if is_fsq { &["vqvae.code_dim=4", "vqvae.codebook_size=16"][..] } else { &[] };
    let keys: Vec<String> = keys.iter().map(|key| format!("--set vqvae.{key}")).collect();
    shop.tiny_without(left_out, &format!("train-vqvae {}", keys.join(" "))).assert().success();
    shop.vqgen("extract-codes --run checkpoints/tiny").assert().success();
    let script_path = shop.path("decode.py");
    std::fs::write(&script_path, script).unwrap();
    std::fs::create_dir(shop.path("theirs")).unwrap();
    let (checkpoints, theirs) = (shop.path("checkpoints/tiny"), shop.path("theirs"));
    let paths = [&script_path, &checkpoints, &theirs].map(|path| path.to_str().unwrap().to_owned());
    let output = run(&paths.each_ref().map(String::as_str)).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let names = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = names.lines().collect();
    assert!(!names.is_empty());
    let mut pictures: Vec<_> = std::fs::read_dir(shop.path("theirs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    pictures.sort();
    assert_eq!(pictures.len(), names.len());
    for (name, theirs) in names.iter().zip(pictures) {
        shop.vqgen(&format!(
            "reconstruct pictures/{name} --run checkpoints/tiny --separate -o ours/{name}"
        ))
        .assert()
        .success();
        let ours = shop.path("ours").join(name.replace(".png", "-0000.png"));
        let read = |bytes: Vec<u8>| image::load_from_memory(&bytes).unwrap().into_rgb8().into_raw();
        let (ours, theirs) = (read(bytes(ours)), read(bytes(theirs)));
        assert_eq!(ours.len(), theirs.len());
        // Another order of summation may round differently.
        let furthest = ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(furthest <= 1, "{keys:?} {name}: {furthest}");
    }
}
