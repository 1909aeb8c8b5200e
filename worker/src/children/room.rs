//! How many more tasks the processes of a handler can start.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

/// Room for tasks.
#[derive(Debug)]
pub(super) struct Room {
    free: Semaphore,
    /// How many tasks have room already and have not begun, whichever they are.
    reserved: AtomicUsize,
}

impl Room {
    /// Room for so many.
    pub(super) fn new(free: usize) -> Self {
        Self { free: Semaphore::new(free), reserved: AtomicUsize::new(0) }
    }

    /// How much there is that is promised to nobody.
    pub(super) fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// Makes room.
    pub(super) fn offer(&self, more: usize) {
        self.free.add_permits(more);
    }

    /// Takes room back; tells how much of it was free.
    pub(super) fn withdraw(&self, less: usize) -> usize {
        self.free.forget_permits(less)
    }

    /// Takes room for a task that is about to begin, so that what is claimed next is not promised it, too.
    pub(super) fn reserve(&self) {
        if let Ok(permit) = self.free.try_acquire() {
            permit.forget();
            self.reserved.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Begins a task, in the room that was reserved or when there is some. Whoever does so makes room again.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn enter(&self) {
        let one_less = |reserved: usize| reserved.checked_sub(1);
        if self.reserved.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err()
            && let Ok(permit) = self.free.acquire().await
        {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_reserved_is_promised_to_nobody_else() {
        let room = Room::new(2);
        room.reserve();
        assert_eq!(room.free(), 1);
        room.enter().await;
        assert_eq!(room.free(), 1, "it is the same room");
        room.enter().await;
        assert_eq!(room.free(), 0);
        room.reserve();
        let third = room.enter();
        tokio::pin!(third);
        assert!(futures_util::poll!(&mut third).is_pending(), "there is none left to be reserved");
        room.offer(1);
        third.await;
        assert_eq!((room.free(), room.withdraw(1)), (0, 0));
    }
}
