//! The current position in the traversal of a module: the name of the parameter, and its layout. Burn reports each
//! field with the type name of its struct, and an index or variant with that of the container.

use super::layout::Layout;

/// A position in a traversal.
#[derive(Debug, Clone, Default)]
pub struct Place(Vec<(String, String)>);

impl Place {
    /// To be called when Burn enters a field, an index or a variant.
    pub fn enter(&mut self, name: &str, container: &str) {
        self.0.push((name.to_owned(), container.to_owned()));
    }

    /// To be called when it leaves.
    pub fn exit(&mut self) {
        self.0.pop();
    }

    /// The name of the current parameter, `encoder.down.0.weight`. Enum variants are left out, since a model is
    /// described by its configuration and not by its Rust types.
    pub fn name(&self) -> String {
        let parts = self.0.iter().filter(|(_, container)| !container.starts_with("Enum:"));
        parts.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(".")
    }

    /// The type of the layer that owns the current parameter, and the field that holds it: `Linear` and `weight`.
    pub fn layer(&self) -> Option<(&str, &str)> {
        let (field, container) = self.0.last()?;
        Some((container.strip_prefix("Struct:")?, field))
    }

    /// The layout of the current parameter; a message where its rank does not fit its layer.
    pub(in crate::checkpoint) fn layout(&self, rank: usize) -> Result<Layout, String> {
        let Some((field, container)) = self.0.last() else { return Ok(Layout::Same) };
        let layout = Layout::of(container, field);
        match layout.rank() {
            Some(wanted) if wanted != rank => Err(format!(
                "parameter {} of a {} has {rank} axes, expected {wanted}",
                self.name(),
                container.trim_start_matches("Struct:")
            )),
            _ => Ok(layout),
        }
    }
}
