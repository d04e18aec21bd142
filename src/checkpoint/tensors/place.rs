//! Where a traversal of a module stands: the name of the parameter there, and its layout. burn reports each field
//! with the type name of the struct it is in, and the index or variant with that of the container.

use super::layout::Layout;

/// Where a traversal stands.
#[derive(Debug, Default)]
pub struct Place(Vec<(String, String)>);

impl Place {
    /// To be called with what burn reports as it enters a field, an index or a variant.
    pub fn enter(&mut self, name: &str, container: &str) {
        self.0.push((name.to_owned(), container.to_owned()));
    }

    /// The same as it leaves.
    pub fn exit(&mut self) {
        self.0.pop();
    }

    /// The name of the parameter here, `encoder.down.0.weight`: the variant of an enum is no part of it, since a model is
    /// described by its configuration and not by its Rust types.
    pub fn name(&self) -> String {
        let parts = self.0.iter().filter(|(_, container)| !container.starts_with("Enum:"));
        parts.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(".")
    }

    /// The type of the layer that owns the parameter here, and the field that holds it: `Linear` and `weight`.
    pub fn layer(&self) -> Option<(&str, &str)> {
        let (field, container) = self.0.last()?;
        Some((container.strip_prefix("Struct:")?, field))
    }

    /// How the parameter here is laid out; a message when it has another number of axes than its layer can have.
    pub(in crate::checkpoint) fn layout(&self, rank: usize) -> Result<Layout, String> {
        let Some((field, container)) = self.0.last() else { return Ok(Layout::Same) };
        let layout = Layout::of(container, field);
        match layout.rank() {
            Some(wanted) if wanted != rank => Err(format!(
                "parameter {} of a {} has {rank} axes, wanted are {wanted}",
                self.name(),
                container.trim_start_matches("Struct:")
            )),
            _ => Ok(layout),
        }
    }
}
