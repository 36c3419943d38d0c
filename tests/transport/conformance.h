/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the conformance suite share; test_conformance.c has the table of checks. */
#ifndef HK_TEST_CONFORMANCE_H
#define HK_TEST_CONFORMANCE_H

#include "harness.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* The one under test. */
extern const struct hk_transport *transport;
/* The usual world: two ranks, four slots of 8 KiB. */
extern const struct world_config two;

/* These end the test when they fail. wrong is NULL or a sentence, which is then shown. */
void assert_well(const char *wrong);
/* Sends until the transport says "not yet", at most `most` messages in all. Returns how many. */
uint32_t send_until_full(struct stream *s, uint32_t most);
/* Every rank with every other, on channel 0. */
void connect_all_pairs(struct world *w);

/* conformance_life.c */
void ping_pong(void **state);
void streaming(void **state);
void flushed_messages_need_no_sender(void **state);
void settled_messages_outlive_their_sender(void **state);
void what_was_received_settles(void **state);
void settle_ends_when_the_peer_leaves(void **state);
void wait_keeps_its_timeout(void **state);
void wait_ends_when_a_message_arrives(void **state);
void wait_ends_when_a_sender_comes(void **state);
void wait_ends_when_a_slot_is_free(void **state);
void close_with_messages_left(void **state);
void memory_is_reported(void **state);
void receiver_sees_death(void **state);
void sender_sees_death(void **state);
void others_survive_a_death(void **state);

/* conformance_lend.c */
void lent_messages_arrive(void **state);
void pulled_messages_arrive(void **state);
void lent_memory_comes_back_in_order(void **state);
void lender_sees_death(void **state);

/* conformance_offer.c */
void offered_messages_arrive(void **state);
void offered_and_lent_messages_arrive(void **state);
void offers_that_do_not_fit(void **state);
void a_long_offer_that_does_not_fit(void **state);
void severed_memory_is_left_alone(void **state);
void severed_loans_are_not_read(void **state);

#endif
