/* A conversation in C: each line of stdin is a message, each answer goes to stdout. The line /forget forgets all turns, and
 * /again asks for a story, cuts it off and takes it back.
 *
 *   cc chat.c -I../include -L../../../target/release -lstonechat_capi -o chat
 *   LD_LIBRARY_PATH=../../../target/release ./chat model.gguf [kept.chat]
 *
 * With a second argument the conversation goes on where it ended. */
#include <stdio.h>
#include <string.h>

#include "stonechat.h"

/* Writes words as they come. Returning false would end the answer. */
static bool write_piece(void *out, const stonechat_piece *piece) {
  if (piece->kind != STONECHAT_TEXT)
    return true;
  return fwrite(piece->text, 1, piece->text_len, out) == piece->text_len && fflush(out) == 0;
}

/* Lets an answer begin and wants no more of it. */
static bool stop_at_once(void *out, const stonechat_piece *piece) {
  (void)out;
  return piece->kind != STONECHAT_TEXT;
}

static int failed(void) {
  fprintf(stderr, "chat: %s\n", stonechat_last_error());
  return 1;
}

int main(int argc, char **argv) {
  if (argc < 2 || argc > 3) {
    fprintf(stderr, "usage: chat MODEL.gguf [KEPT.chat]\n");
    return 2;
  }
  const char *kept = argc == 3 ? argv[2] : NULL;

  stonechat_options options = stonechat_default_options();
  options.context = 1024;
  options.predict = 48;
  options.overflow = STONECHAT_SHIFT;
  stonechat_chat *chat = stonechat_open(argv[1], &options);
  if (chat == NULL)
    return failed();

  FILE *before = kept ? fopen(kept, "rb") : NULL;
  if (before != NULL) {
    fclose(before);
    if (!stonechat_load(chat, kept))
      return failed();
  }

  char line[4096];
  while (fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    if (strcmp(line, "/forget") == 0) {
      stonechat_clear(chat);
      continue;
    }
    if (strcmp(line, "/again") == 0) {
      /* An answer that is cut off stays as far as it came, until it is taken back. */
      if (stonechat_say(chat, "Tell me a story.", stop_at_once, NULL) != STONECHAT_CANCELLED || !stonechat_undo(chat))
        return failed();
      continue;
    }
    if (stonechat_say(chat, line, write_piece, stdout) == STONECHAT_FAILED)
      return failed();
    putchar('\n');
    if (kept && !stonechat_save(chat, kept))
      return failed();
  }
  stonechat_context used = stonechat_used(chat);
  fprintf(stderr, "%zu of %zu tokens used\n", used.tokens, used.context);
  stonechat_close(chat);
  return 0;
}
