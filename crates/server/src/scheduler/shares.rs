//! How a step is shared out: how many tokens of each text it takes.
//!
//! In: how many tokens of each text wait to be fed. Out: how many of them are. Answers that are being written come first, with
//! all that they wait for, since that is a token or a few; what room is left goes to the prompts, to each as much.

use stonechat_runtime::generate::MOST_WAITING;

/// What finds room in a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Tokens in all.
    pub tokens: usize,
    /// Texts whose next token can be picked.
    pub outputs: usize,
    /// Tokens of prompts.
    pub reading: usize,
}

/// Of so many tokens that wait in each text, how many are fed. Where there is no room for all, those from `first` on have it.
pub(super) fn shares(waiting: &[usize], first: usize, mut room: Room) -> Vec<usize> {
    let mut shares = vec![0; waiting.len()];
    let few = MOST_WAITING.min(room.tokens);
    let order = |i: usize| (first + i) % waiting.len();
    for i in (0..waiting.len()).map(order) {
        let wanted = waiting[i];
        if (1..=few).contains(&wanted) && wanted <= room.tokens && room.outputs > 0 {
            shares[i] = wanted;
            room.tokens -= wanted;
            room.outputs -= 1;
        }
    }
    let mut left = room.tokens.min(room.reading);
    let mut readers: Vec<usize> = (0..waiting.len()).map(order).filter(|i| waiting[*i] > few).collect();
    // Those with the least to read first, so that what they do not need is there for the others.
    readers.sort_by_key(|i| waiting[*i]);
    for (n, i) in readers.iter().enumerate() {
        let mut share = waiting[*i].min(left.div_ceil(readers.len() - n));
        if share == waiting[*i] {
            // The last token waits until there is room for what follows it.
            match room.outputs.checked_sub(1) {
                Some(outputs) => room.outputs = outputs,
                None => share -= 1,
            }
        }
        shares[*i] = share;
        left -= share;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { tokens: 64, outputs: 4, reading: 32 };

    #[test]
    fn answers_come_before_prompts_and_prompts_have_as_much_each() {
        assert_eq!(shares(&[1, 0, 1, 1], 0, ROOM), [1, 0, 1, 1]);
        assert_eq!(shares(&[1, 500, 3, 0], 0, ROOM), [1, 32, 3, 0]);
        assert_eq!(shares(&[500, 400, 1, 300], 0, ROOM), [10, 11, 1, 11]);
        // What a short prompt does not need, a long one has.
        assert_eq!(shares(&[500, 20, 0, 0], 0, Room { tokens: 100, reading: 80, ..ROOM }), [60, 20, 0, 0]);
        // Nobody has more than finds room.
        assert_eq!(shares(&[16, 16, 500, 1], 0, Room { tokens: 40, ..ROOM }), [16, 16, 7, 1]);
    }

    #[test]
    fn where_room_is_short_turns_are_taken() {
        let room = Room { tokens: 2, outputs: 2, reading: 2 };
        assert_eq!(shares(&[1, 1, 1], 0, room), [1, 1, 0]);
        assert_eq!(shares(&[1, 1, 1], 1, room), [0, 1, 1]);
        assert_eq!(shares(&[1, 1, 1], 2, room), [1, 0, 1]);
        // A prompt that could be read to its end waits with its last token.
        let room = Room { tokens: 64, outputs: 1, reading: 64 };
        assert_eq!(shares(&[1, 20, 0], 0, room), [1, 19, 0]);
        assert_eq!(shares(&[0, 20, 0], 0, room), [0, 20, 0]);
        assert_eq!(shares(&[0, 20, 18], 0, room), [0, 19, 18]);
        assert_eq!(shares(&[0, 0], 0, room), [0, 0]);
        // A batch may be smaller than what an answer waits for.
        assert_eq!(shares(&[10], 0, Room { tokens: 8, outputs: 1, reading: 8 }), [8]);
    }
}
