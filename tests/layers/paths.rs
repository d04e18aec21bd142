//! The paths that a Rust source names, read from its tokens, with `crate`, `self` and `super` resolved. Test modules are
//! left out. It knows no rule about them.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Functions of `Device` that choose a backend.
const BACKENDS: [&str; 9] =
    ["flex", "wgpu", "wgpu_options", "vulkan", "metal", "webgpu", "cuda", "enumerate", "default"];

/// Whether a name occurs, in test modules too.
pub(crate) fn names(tokens: TokenStream, name: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(word) => word == name,
        TokenTree::Group(group) => names(group.stream(), name),
        _ => false,
    })
}

#[derive(Default)]
pub(crate) struct Found {
    /// Paths from the crate's root, without `crate`.
    pub(crate) inside: Vec<Vec<String>>,
    /// Paths that begin with another name.
    pub(crate) outside: Vec<Vec<String>>,
    /// `x` of every `Device::x` in [`BACKENDS`].
    pub(crate) device_calls: Vec<String>,
    /// Whether `stdout()` or `stderr()` or a printing macro occurs.
    pub(crate) prints: bool,
}

pub(crate) fn collect(tokens: TokenStream, module: &[String], found: &mut Found) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(word) if word == "mod" && braces(tokens.get(at + 2)).is_some() => {
                let name = tokens[at + 1].to_string();
                if name != "tests" {
                    let inner = [module, &[name]].concat();
                    collect(braces(tokens.get(at + 2)).unwrap(), &inner, found);
                }
                at += 3;
                continue;
            }
            TokenTree::Ident(word) if !follows_colons(&tokens, at) => {
                let word = word.to_string();
                let calls = matches!(tokens.get(at + 1), Some(TokenTree::Group(group))
                    if group.delimiter() == Delimiter::Parenthesis);
                let is_macro = is_punct(tokens.get(at + 1), '!');
                if calls && ["stdout", "stderr"].contains(&word.as_str())
                    || is_macro
                        && ["print", "println", "eprint", "eprintln", "dbg"]
                            .contains(&word.as_str())
                {
                    found.prints = true;
                }
                if colons(&tokens, at + 1) {
                    let mut paths = Vec::new();
                    read_paths(&tokens, at, &mut Vec::new(), &mut paths);
                    // `== Device::flex()` compares a device and does not choose one.
                    let compared = is_punct(tokens.get(at.wrapping_sub(1)), '=')
                        && (is_punct(tokens.get(at.wrapping_sub(2)), '=')
                            || is_punct(tokens.get(at.wrapping_sub(2)), '!'));
                    for path in paths {
                        record(path, module, compared, found);
                    }
                }
            }
            TokenTree::Group(group) => collect(group.stream(), module, found),
            _ => {}
        }
        at += 1;
    }
}

/// Whether `module` is the module `ancestor` (`bench::files`) or below it.
pub(crate) fn is_inside(module: &[String], ancestor: &str) -> bool {
    let ancestor: Vec<&str> = ancestor.split("::").collect();
    module.len() >= ancestor.len() && module.iter().zip(&ancestor).all(|(a, b)| a == b)
}

/// Files a path as inside or outside the crate, with `crate`, `self` and `super` resolved.
fn record(path: Vec<String>, module: &[String], compared: bool, found: &mut Found) {
    let last_two = path.iter().rev().take(2).rev().map(String::as_str).collect::<Vec<_>>();
    if let ["Device", call] = last_two[..]
        && BACKENDS.contains(&call)
        && !compared
    {
        found.device_calls.push(call.to_owned());
    }
    if path.last().is_some_and(|last| last == "stdout" || last == "stderr") {
        found.prints = true;
    }
    let supers = path.iter().take_while(|part| *part == "super").count();
    let (base, rest) = match path[0].as_str() {
        "crate" | "vqgen" => (&[][..], &path[1..]),
        "self" => (module, &path[1..]),
        "super" => (&module[..module.len().saturating_sub(supers)], &path[supers..]),
        _ => {
            found.outside.push(path);
            return;
        }
    };
    let full = [base, rest].concat();
    if !full.is_empty() {
        found.inside.push(full);
    }
}

/// Reads the path, or the tree of paths, that begins at `at`; each complete one, after `prefix`, goes to `paths`.
fn read_paths(
    tokens: &[TokenTree],
    mut at: usize,
    prefix: &mut Vec<String>,
    paths: &mut Vec<Vec<String>>,
) {
    let depth = prefix.len();
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(word)) => {
                prefix.push(word.to_string());
                at += 1;
                if colons(tokens, at) {
                    at += 2;
                    continue;
                }
                paths.push(prefix.clone());
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for branch in inner.split(|token| is_punct(Some(token), ',')) {
                    if !branch.is_empty() {
                        read_paths(branch, 0, prefix, paths);
                    }
                }
            }
            // `*`, generic arguments or the end: what was read is the path.
            _ => paths.push(prefix.clone()),
        }
        break;
    }
    prefix.truncate(depth);
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn colons(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

fn follows_colons(tokens: &[TokenTree], at: usize) -> bool {
    at >= 2 && colons(tokens, at - 2)
}

fn braces(token: Option<&TokenTree>) -> Option<TokenStream> {
    match token {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            Some(group.stream())
        }
        _ => None,
    }
}
