//! A warning where the training loss rises.

/// A loss above this multiple of the lowest one logged so far causes a warning.
const SPIKE: f64 = 2.0;

/// The lowest loss logged, since this process started and since a term last joined the loss.
#[derive(Debug, Default)]
pub(super) struct SpikeWatch {
    lowest: Option<f64>,
}

impl SpikeWatch {
    /// Takes note of the mean `loss` of the log interval that ends at `step`, and returns a warning that names the keys
    /// of `section` if it has risen. An interval in which a term joins is compared with none, before or after it.
    pub(super) fn logged(
        &mut self,
        section: &str,
        step: u64,
        loss: f64,
        joins: bool,
    ) -> Option<String> {
        if joins {
            self.lowest = None;
            return None;
        }
        let lowest = self.lowest.map_or(loss, |lowest| lowest.min(loss));
        self.lowest = Some(lowest);
        (loss > SPIKE * lowest).then(|| {
            format!(
                "the loss rose to {loss:.4} at step {step} after a lowest of {lowest:.4}: if it stays there, lower \
                 {section}.learning_rate or set {section}.gradient_clip, and --resume"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_doubles_is_told_unless_a_term_has_joined() {
        let mut watch = SpikeWatch::default();
        let mut logged = |step, loss, joins| watch.logged("vqvae", step, loss, joins).is_some();
        assert!(!logged(10, 1.0, false));
        assert!(!logged(20, 1.9, false));
        assert!(logged(30, 2.1, false));
        assert!(!logged(40, 2.5, true));
        // The first with the new term, which is what further ones are compared with.
        assert!(!logged(50, 4.0, false));
        assert!(logged(60, 8.1, false));
        assert!(!logged(70, 3.0, false));
        assert!(logged(80, 6.1, false));
    }
}
