/* ingest/instruct_sets_private.h: the readers of instruction sets: one function a set takes an annotation
 * record to an instruct_record, by the rows of spec data.md 1.10, 7.1 and 7.2 (answers, talk); files are
 * streamed and one record at a time is held as a tree (sets). */
#ifndef DEEM_INGEST_INSTRUCT_SETS_PRIVATE_H
#define DEEM_INGEST_INSTRUCT_SETS_PRIVATE_H

#include "ingest/instruct_private.h"
#include "ingest/masks/segmentation.h"

struct set_reader {
    struct instruct_list *l;
    struct instruct_record r;
    struct instruct_origin at;
    struct arena arena, answers_arena;
    struct hash_map *answers; /* vqav2, okvqa: question id -> answer (address of its text) */
    const char *key;          /* name of the member the record stands under; NULL in lists */
    struct buffer text;
    struct segmentation seg;
    struct rle mask;
    struct rle_scratch scratch;
    struct buffer runs;
};

/* A record of the set into the list: kept, filtered or quarantined. ST_FAIL: CAUSE_IO, CAUSE_NOMEM. */
typedef enum status set_record_fn(struct set_reader *s, const struct json_value *v,
                                  struct error *err);
/* instruct_answers.c */
set_record_fn instruct_read_vqa_answer, instruct_read_vqa_question, instruct_read_textvqa,
    instruct_read_aokvqa, instruct_read_ocrvqa, instruct_read_gqa, instruct_read_coco_caption,
    instruct_read_textcaps;
/* instruct_talk.c */
set_record_fn instruct_read_llava, instruct_read_mask_text;

/* instruct_sets.c. Quarantines the record at hand. */
enum status instruct_set_bad(struct set_reader *s, const char *code, const char *what,
                             struct error *err);
/* Members of a type, else NULL; texts hold no NUL. */
const char *instruct_text_of(const struct json_value *v, const char *key);
const struct json_value *instruct_list_of(const struct json_value *v, const char *key);
/* An id of either form, as text in the record's `id`; false: there is none. */
bool instruct_take_id(struct set_reader *s, const struct json_value *v, const char *key,
                      struct error *err, enum status *st);
enum status instruct_key_is_id(struct set_reader *s, struct error *err);
bool instruct_is_blank(const char *s);

#endif
