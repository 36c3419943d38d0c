/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configuration: hocketConfig_t over the environment over the defaults. A struct from an older
 * header is shorter; its missing fields count as undefined.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "comm.h"
#include "param.h"

static int take(const char *name, int value, int64_t min, int64_t max, int64_t fallback,
		int64_t *out)
{
	if (value == HOCKET_CONFIG_UNDEF_INT) {
		*out = fallback;
		return 0;
	}
	if (value < min || value > max)
		return hk_fail_quiet(EINVAL, "config.%s is %d; it must be from %lld to %lld", name,
				     value, (long long)min, (long long)max);
	*out = value;
	return 0;
}

static int take_algorithms(const char *names, struct hk_config *config)
{
	if (!names)
		names = hk_param_str(HK_PARAM_ALGO);
	if (!names)
		return 0;
	if (strlen(names) >= sizeof(config->algorithms))
		return hk_fail_quiet(EINVAL, "HOCKET_ALGO or config.algorithms is too long");
	strcpy(config->algorithms, names);
	return 0;
}

static int take_transports(const char *names, struct hk_config *config)
{
	if (!names)
		names = hk_param_str(HK_PARAM_TRANSPORTS);
	if (!names)
		return 0;
	if (strlen(names) >= sizeof(config->transports))
		return hk_fail_quiet(EINVAL, "HOCKET_TRANSPORTS or config.transports is too long");
	if (!*names)
		return hk_fail_quiet(EINVAL,
				     "HOCKET_TRANSPORTS or config.transports names no transport");
	strcpy(config->transports, names);
	return 0;
}

static int read_fields(const hocketConfig_t *u, struct hk_config *config)
{
	int64_t timeout = hk_param(HK_PARAM_TIMEOUT_MS), usual = 0, init = 0, channels = 0,
		slots = 0, slot_bytes = 0, blocking = 1, device = -1, copy_bytes = 0;
	int err = take("blocking", u->blocking, 0, 1, 1, &blocking);

	if (!err)
		err = take("usualTimeoutMs", u->usualTimeoutMs, 0, INT32_MAX, 0, &usual);
	if (usual && !hk_param_given(HK_PARAM_TIMEOUT_MS))
		timeout = usual;
	if (!err)
		err = take("timeoutMs", u->timeoutMs, 1, INT32_MAX, timeout, &timeout);
	if (!err)
		err = take("initTimeoutMs", u->initTimeoutMs, 1, INT32_MAX,
			   hk_param(HK_PARAM_INIT_TIMEOUT_MS), &init);
	if (!err)
		err = take("channels", u->channels, 0, 16, hk_param(HK_PARAM_CHANNELS), &channels);
	if (!err)
		err = take("slots", u->slots, 0, 16, hk_param(HK_PARAM_SLOTS), &slots);
	if (!err)
		err = take("slotBytes", u->slotBytes, 0, 1 << 22, hk_param(HK_PARAM_SLOT_BYTES),
			   &slot_bytes);
	if (!err)
		err = take("device", u->device, HOCKET_DEVICE_CURRENT, 1024,
			   hk_param(HK_PARAM_DEVICE), &device);
	if (!err)
		err = take("copyBytes", u->copyBytes, 0, INT32_MAX, hk_param(HK_PARAM_COPY_BYTES),
			   &copy_bytes);
	if (err)
		return err;
	if (device == HOCKET_DEVICE_CURRENT)
		device = hk_gpu_exec_current();
	slots = slots ? slots : hk_param(HK_PARAM_SLOTS);
	slot_bytes = slot_bytes ? slot_bytes : hk_param(HK_PARAM_SLOT_BYTES);
	if (slots == 1)
		return hk_fail_quiet(EINVAL, "HOCKET_SLOTS or config.slots is 1; it must be from 2 "
					     "to 16, or 0 to have it chosen");
	if (slot_bytes % 4096)
		return hk_fail_quiet(EINVAL,
				     "HOCKET_SLOT_BYTES or config.slotBytes is %lld; it must be a "
				     "multiple of 4096",
				     (long long)slot_bytes);
	*config = (struct hk_config){.timeout_ns = timeout * 1000000,
				     .init_timeout_ms = init,
				     .channels = (uint32_t)channels,
				     .slots_asked = (uint32_t)slots,
				     .slot_bytes_asked = (uint32_t)slot_bytes,
				     .blocking = blocking != 0,
				     .device = (int)device,
				     .copy_bytes = copy_bytes,
				     .switches = hk_param_str(HK_PARAM_SWITCHES)};
	err = take_algorithms(u->algorithms, config);
	return err ? err : take_transports(u->transports, config);
}

void hk_config_settle(struct hk_config *config, bool near, bool gpus)
{
	const struct hk_slots chosen = gpus ? hk_tune_gpu_slots() : hk_tune_slots(near);

	config->slots = config->slots_asked ? config->slots_asked : chosen.count;
	config->slot_bytes = config->slot_bytes_asked ? config->slot_bytes_asked : chosen.bytes;
}

int hk_config_resolve(const hocketConfig_t *user, struct hk_config *config)
{
	hocketConfig_t u = HOCKET_CONFIG_INITIALIZER;

	if (user) {
		if (user->size < offsetof(hocketConfig_t, blocking) || user->size > 4096)
			return hk_fail_quiet(
				EINVAL, "config.size is %zu; start from HOCKET_CONFIG_INITIALIZER",
				user->size);
		if (user->magic != HOCKET_CONFIG_MAGIC)
			return hk_fail_quiet(
				EINVAL,
				"config has no valid magic; start from HOCKET_CONFIG_INITIALIZER");
		memcpy(&u, user, user->size < sizeof(u) ? user->size : sizeof(u));
	}
	return read_fields(&u, config);
}
