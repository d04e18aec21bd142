//! The default name of a picture of samples.

use crate::checkpoint::text_fingerprint;

/// `samples-Cats-seed-7.png`, `samples-red heart-seed-7.png`: of `what`, with these classes and prompts in the name.
pub(super) fn default_name(
    what: &str,
    classes: &[(usize, &str)],
    prompts: &[&str],
    seed: u64,
) -> String {
    let classes_named: String = classes.iter().map(|(_, name)| format!("-{name}")).collect();
    let prompts_named: String = prompts.iter().map(|prompt| format!("-{prompt}")).collect();
    let (plain, plain_prompts) = (file_name_part(&classes_named), file_name_part(&prompts_named));
    // Two classes or prompts must not share a file: where a name had to be changed, numbers tell them apart.
    let numbers: String = match plain == classes_named {
        true => String::new(),
        false => classes.iter().map(|(class, _)| format!("-{class}")).take(8).collect(),
    };
    let digest = match plain_prompts == prompts_named {
        true => String::new(),
        false => format!("-{}", &text_fingerprint(&prompts_named)[..8]),
    };
    format!("{what}{plain}{numbers}{plain_prompts}{digest}-seed-{seed}.png")
}

/// `text` as a part of a file name: class names come from files, and may have any length and content.
pub(super) fn file_name_part(text: &str) -> String {
    /// Most file systems allow 255 bytes per name, and the rest needs some.
    const MOST_BYTES: usize = 80;
    let plain = |c: char| if c.is_alphanumeric() || "-_. ".contains(c) { c } else { '_' };
    let ends = |(at, c): (usize, char)| at + c.len_utf8() <= MOST_BYTES;
    text.char_indices().take_while(|place| ends(*place)).map(|(_, c)| plain(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_classes_never_have_one_file() {
        let known = ["Cats", "cats", "a/b", "a:b"];
        let name = |class: usize| default_name("samples", &[(class, known[class])], &[], 7);
        assert_eq!(name(0), "samples-Cats-seed-7.png");
        assert_eq!(name(1), "samples-cats-seed-7.png");
        assert_eq!(
            (name(2).as_str(), name(3).as_str()),
            ("samples-a_b-2-seed-7.png", "samples-a_b-3-seed-7.png")
        );
        assert_eq!(default_name("samples", &[], &[], 0), "samples-seed-0.png");
    }

    #[test]
    fn two_prompts_never_have_one_file() {
        let name = |prompt: &str| default_name("samples", &[(1, "Cats")], &[prompt], 7);
        assert_eq!(name("red heart"), "samples-Cats-red heart-seed-7.png");
        assert_ne!(name("what?"), name("what!"));
        let long = "a long prompt ".repeat(20);
        assert_ne!(name(&long), name(&format!("{long}and more")));
        assert!(name(&long).len() < 200);
    }

    #[test]
    fn class_names_of_any_kind_stay_inside_the_folder() {
        assert_eq!(file_name_part("-../../etc\\x:\0\n"), "-.._.._etc_x___");
        assert_eq!(file_name_part("-größer 2"), "-größer 2");
        let long = file_name_part(&"ö".repeat(5_000));
        assert!(long.len() <= 80 && long.chars().all(|c| c == 'ö'), "{long}");
    }
}
