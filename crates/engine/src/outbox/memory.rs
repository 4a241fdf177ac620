//! How many bytes of outgoing messages are in memory at the same time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one permit stands for, in bytes.
const UNIT: u64 = 1_024;

/// A budget of bytes that all attempts share. Whoever asks first is served first, so a large message is not kept
/// waiting by small ones.
#[derive(Clone)]
pub(crate) struct Memory {
    free: Arc<Semaphore>,
    units: u32,
}

impl Memory {
    /// A budget of `bytes`.
    pub(crate) fn new(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Self { free: Arc::new(Semaphore::new(units as usize)), units }
    }

    /// Waits until a message of `size` bytes has room; it has it until what is given is dropped. A message that is larger
    /// than the whole budget is in memory alone. None when the engine is gone.
    pub(crate) async fn room_for(&self, size: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(size.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.units);
        Arc::clone(&self.free).acquire_many_owned(units).await.ok()
    }
}
