//! Class names as typed by the user.

/// How many similar names a message lists.
const MOST_NAMED: usize = 5;
/// Up to this many classes are all listed.
const MOST_LISTED: usize = 12;

/// The `wanted` classes, or all `known` ones, by index. An exact match takes precedence over one that differs in case.
pub(super) fn chosen_classes(wanted: &[String], known: &[String]) -> anyhow::Result<Vec<usize>> {
    if wanted.is_empty() {
        return Ok((0..known.len()).collect());
    }
    wanted.iter().map(|name| class_index(name, known)).collect()
}

fn class_index(name: &str, known: &[String]) -> anyhow::Result<usize> {
    if let Some(exact) = known.iter().position(|known| known == name) {
        return Ok(exact);
    }
    let lower = name.to_lowercase();
    let alike: Vec<usize> =
        (0..known.len()).filter(|index| known[*index].to_lowercase() == lower).collect();
    match alike[..] {
        [only] => Ok(only),
        [] => Err(anyhow::anyhow!("cannot sample class {name}: {}", there_are(name, known))),
        _ => {
            let names: Vec<_> = alike.iter().map(|index| known[*index].as_str()).collect();
            anyhow::bail!("cannot sample class {name}: it could be {}", names.join(" or "))
        }
    }
}

/// The classes to choose from: all where there are few, otherwise those with similar names.
fn there_are(name: &str, known: &[String]) -> String {
    match known.len() {
        0 => "the prior was trained without classes (leave out --class)".to_owned(),
        1..=MOST_LISTED => format!("the classes are {}", known.join(", ")),
        n => {
            let lower = name.to_lowercase();
            let mut near: Vec<(f64, &str)> = known
                .iter()
                .map(|known| (strsim::jaro_winkler(&lower, &known.to_lowercase()), known.as_str()))
                .collect();
            near.sort_by(|a, b| b.0.total_cmp(&a.0));
            let near: Vec<_> = near.iter().take(MOST_NAMED).map(|(_, name)| *name).collect();
            format!("the nearest of {n} classes are {}", near.join(", "))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_name_as_it_is_comes_before_one_in_another_case() {
        let known = names(&["Cats", "Dogs", "cats"]);
        let choose = |name: &str| chosen_classes(&names(&[name]), &known);
        assert_eq!(choose("cats").unwrap(), [2]);
        assert_eq!(choose("Cats").unwrap(), [0]);
        assert_eq!(choose("dogs").unwrap(), [1]);
        let message = choose("CATS").unwrap_err().to_string();
        assert_eq!(message, "cannot sample class CATS: it could be Cats or cats");
        assert_eq!(chosen_classes(&[], &known).unwrap(), [0, 1, 2]);
    }

    #[test]
    fn few_classes_are_listed_and_of_many_the_nearest() {
        let message = |name: &str, known: &[String]| {
            chosen_classes(&names(&[name]), known).unwrap_err().to_string()
        };
        let few = names(&["Cats", "Dogs"]);
        assert_eq!(message("birds", &few), "cannot sample class birds: the classes are Cats, Dogs");
        let many: Vec<String> = (0..3000).map(|i| format!("bird {i:04}")).collect();
        let told = message("Bird 017", &many);
        assert!(told.contains("the nearest of 3000 classes are bird 0017,"), "{told}");
        assert!(told.len() < 150, "{told}");
        assert!(message("cats", &[]).contains("leave out --class"));
    }
}
