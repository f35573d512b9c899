/* Stonechat: conversations with a language model on a small computer.
 *
 * This file is made of crates/capi/src/lib.rs by cbindgen. Link with libstonechat_capi, shared or static; examples/chat.c
 * shows how. Text is UTF-8. A function that fails says so, and stonechat_last_error tells why, in one sentence. */

#ifndef STONECHAT_H
#define STONECHAT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// Why an answer ended.
typedef enum stonechat_ending {
  // It did not: see `stonechat_last_error`. What was said was not said.
  STONECHAT_FAILED = -1,
  // The model said so.
  STONECHAT_END = 0,
  // It is as long as it may be.
  STONECHAT_LENGTH,
  // The context is full.
  STONECHAT_CONTEXT,
  // No more was wanted.
  STONECHAT_CANCELLED,
} stonechat_ending;

// What a piece of an answer is.
typedef enum stonechat_piece_kind {
  // Tokens of the prompt have been read: `done` of `total`.
  STONECHAT_READING,
  // The context was full, and older turns give way: `done` of at most `total` tokens.
  STONECHAT_MAKING_ROOM,
  // The next words of a thought, which comes before the answer: `text`.
  STONECHAT_THOUGHT,
  // The next words of the answer: `text`.
  STONECHAT_TEXT,
} stonechat_piece_kind;

// What gives way when the context is full.
typedef enum stonechat_overflow {
  // The oldest turns, whole; the system prompt stays.
  STONECHAT_SHIFT,
  // The oldest turns, of which the model writes a summary first.
  STONECHAT_SUMMARISE,
  // Nothing: the answer ends, and a message that does not fit is refused.
  STONECHAT_STOP,
} stonechat_overflow;

// A conversation. Made by `stonechat_open`, ended by `stonechat_close`; used by one thread at a time.
typedef struct stonechat_chat stonechat_chat;

// How a conversation is to be held. `stonechat_default_options` fills it.
typedef struct stonechat_options {
  // Tokens of context; 0 for as many as the model takes, up to 4096.
  size_t context;
  // Threads; 0 for as many as are worth having.
  size_t threads;
  // Tokens of an answer at most; 0 for no limit but the context's.
  size_t predict;
  // Divides logits before a token is drawn; 0 always picks the most likely token.
  float temperature;
  // Only the k most likely tokens; 0 for all.
  size_t top_k;
  // Only the most likely tokens that together reach this probability; 1 for all.
  float top_p;
  // Only tokens at least this fraction as likely as the most likely; 0 for all.
  float min_p;
  // Divides positive logits, and multiplies negative ones, of recent tokens; 1 for no penalty.
  float repeat_penalty;
  // The key of the random numbers: the same seed gives the same text on every machine.
  uint64_t seed;
  // What gives way when the context is full: a `stonechat_overflow`.
  int overflow;
  // What the model is told before all else, in UTF-8; NULL for nothing.
  const char *system;
} stonechat_options;

// A piece of an answer. Its text lives until the function that is given it returns.
typedef struct stonechat_piece {
  // Which of the fields below say something.
  enum stonechat_piece_kind kind;
  // UTF-8 without a zero at its end, and never half a character.
  const char *text;
  // The bytes of `text`.
  size_t text_len;
  // Tokens read so far.
  size_t done;
  // Tokens to read in all.
  size_t total;
} stonechat_piece;

// Is called with each piece of an answer; returns whether more is wanted. If not, the answer ends where it stands and
// the conversation can go on from there; before the first words of an answer, nothing was said. It must return: no
// exception and no longjmp may leave it.
typedef bool (*stonechat_on_piece)(void *user, const struct stonechat_piece *piece);

// How full the context is.
typedef struct stonechat_context {
  // Tokens in it.
  size_t tokens;
  // Tokens that fit.
  size_t context;
  // Turns that are in it.
  size_t turns;
  // Turns that had to give way.
  size_t dropped;
} stonechat_context;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of this library, as MAJOR.MINOR.PATCH.
const char *stonechat_version(void);

// Options with which a model answers greedily.
struct stonechat_options stonechat_default_options(void);

// Maps the model in a file, takes all the memory that it will ever need, and begins a conversation. `options` may be NULL for
// the defaults. NULL on an error.
//
// # Safety
// `path` points to text that ends with a zero; so does the system prompt of `options`, which is NULL or points to options.
struct stonechat_chat *stonechat_open(const char *path,
                                      const struct stonechat_options *options);

// Says something. `on_piece` (which may be NULL) is called with each piece of the answer, and with `user`.
//
// # Safety
// `chat` comes from `stonechat_open` and is used by nobody else meanwhile, not even by `on_piece`; `said` points to text that ends
// with a zero.
enum stonechat_ending stonechat_say(struct stonechat_chat *chat,
                                    const char *said,
                                    stonechat_on_piece on_piece,
                                    void *user);

// Takes back the last thing said and its answer. Whether there was one.
//
// # Safety
// `chat` comes from `stonechat_open` and is used by nobody else meanwhile.
bool stonechat_undo(struct stonechat_chat *chat);

// Forgets all turns; the system prompt stays.
//
// # Safety
// `chat` comes from `stonechat_open` and is used by nobody else meanwhile.
void stonechat_clear(struct stonechat_chat *chat);

// Saves the conversation and all that has been computed of it, whole or not at all, even if the power fails. Whether it
// is saved.
//
// # Safety
// `chat` comes from `stonechat_open` and is used by nobody else meanwhile; `path` points to text that ends with a zero.
bool stonechat_save(struct stonechat_chat *chat,
                    const char *path);

// Takes up a conversation that was saved with the same model, in place of this one. Whether it has; if not, this one goes on.
//
// # Safety
// `chat` comes from `stonechat_open` and is used by nobody else meanwhile; `path` points to text that ends with a zero.
bool stonechat_load(struct stonechat_chat *chat,
                    const char *path);

// How full the context is.
//
// # Safety
// `chat` comes from `stonechat_open` and is changed by nobody meanwhile.
struct stonechat_context stonechat_used(const struct stonechat_chat *chat);

// Ends a conversation and gives its memory back. NULL is no conversation and does nothing.
//
// # Safety
// `chat` is NULL or comes from `stonechat_open`, and is never used again.
void stonechat_close(struct stonechat_chat *chat);

// Why this thread's last call of a function that can fail did, in one sentence of UTF-8; NULL if it did not.
// The text lives until this thread's next call of a function of this library.
const char *stonechat_last_error(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* STONECHAT_H */
