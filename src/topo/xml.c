/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The callbacks of expat. Objects are nested elements, so a stack holds the open ones. A file that
 * declares entities is refused: recordings have none, and they are how a small file grows large.
 */
#include "xml.h"

#include <ctype.h>
#include <errno.h>
#include <expat.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "graph.h"
#include "machine.h"
#include "store.h"

struct state {
	XML_Parser parser;
	struct hk_xml *xml;
	int major; /* version of the format, 0: not seen yet */
	int stack[HK_XML_DEPTH], depth;
	int elements;	/* that are open */
	unsigned nobjs; /* of the matrix that is being read, 0: none */
	unsigned ngp;
	size_t nvalues;
	char *text; /* inside indexes or u64values, NULL elsewhere */
	size_t ntext, capacity;
	int err;
	char why[320];
};

/* Stops the parser; the first reason counts. */
static void refuse(struct state *s, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void refuse(struct state *s, int code, const char *fmt, ...)
{
	va_list args;

	if (s->err)
		return;
	s->err = -code;
	va_start(args, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, args);
	va_end(args);
	XML_StopParser(s->parser, XML_FALSE);
}

static const char *attribute(const char **attributes, const char *name)
{
	for (; *attributes; attributes += 2)
		if (!strcmp(attributes[0], name))
			return attributes[1];
	return NULL;
}

/* A number of an attribute, `missing` if there is none. */
static uint64_t number(struct state *s, const char **attributes, const char *name, uint64_t max,
		       uint64_t missing)
{
	const char *text = attribute(attributes, name);
	unsigned long long value;
	char *end;

	if (!text)
		return missing;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || value > max) {
		refuse(s, EINVAL, "%s=\"%.40s\" is no number from 0 to %llu", name, text,
		       (unsigned long long)max);
		return missing;
	}
	return value;
}

/* A copy with nothing in it that the text format cannot hold. */
static const char *keep(struct state *s, const char *text)
{
	char clean[128];
	size_t n = 0;
	const char *copy;

	for (; *text && n < sizeof(clean) - 1; text++)
		clean[n++] = (unsigned char)*text < ' ' ? ' ' : *text == '"' ? '\'' : *text;
	/* Not in the middle of a character, if it was cut. */
	while (*text && n && ((unsigned char)clean[n - 1] & 0x80))
		n--;
	while (n && clean[n - 1] == ' ')
		n--;
	clean[n] = 0;
	copy = hk_store_text(s->xml->store, clean);
	if (!copy)
		refuse(s, ENOMEM, "no memory for its names");
	return copy;
}

static enum hk_xml_type type_of(const char *name)
{
	static const struct {
		const char *name;
		enum hk_xml_type type;
	} types[] = {{"Machine", HK_XML_MACHINE}, {"Package", HK_XML_PACKAGE},
		     {"NUMANode", HK_XML_NUMA},	  {"Core", HK_XML_CORE},
		     {"PU", HK_XML_PU},		  {"Bridge", HK_XML_BRIDGE},
		     {"PCIDev", HK_XML_PCI},	  {"OSDev", HK_XML_OS}};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (!strcmp(name, types[i].name))
			return types[i].type;
	return HK_XML_OTHER;
}

/* hwloc 2 numbers the kinds of devices, hwloc 3 has a bit for each. */
static enum hk_xml_os os_kind(int major, unsigned value)
{
	if (major == 2)
		return value == 2   ? HK_OS_NETWORK
		       : value == 3 ? HK_OS_RDMA
		       : value == 5 ? HK_OS_GPU
				    : HK_OS_NONE;
	if (value & 32)
		return HK_OS_RDMA;
	return value & 16 ? HK_OS_NETWORK : value & 8 ? HK_OS_GPU : HK_OS_NONE;
}

static void read_pci(struct state *s, const char **attributes, struct hk_xml_object *o)
{
	const char *type = attribute(attributes, "pci_type");
	const char *speed = attribute(attributes, "pci_link_speed");
	const char *subtype = attribute(attributes, "subtype");
	const char *bridge = attribute(attributes, "bridge_type");
	char *end = NULL;
	unsigned class = 0, vendor = 0, device = 0;

	if (type && sscanf(type, "%4x [%4x:%4x]", &class, &vendor, &device) != 3)
		refuse(s, EINVAL, "pci_type=\"%.40s\" is not CLASS [VENDOR:DEVICE] ...", type);
	o->class = (uint16_t) class;
	o->vendor = (uint16_t)vendor;
	o->device = (uint16_t)device;
	o->nvswitch =
		(subtype && !strcmp(subtype, "NVSwitch")) || (vendor == 0x10de && class == 0x0680);
	o->host_bridge = bridge && !strncmp(bridge, "0-", 2);
	if (!speed)
		return;
	o->gbs = isdigit((unsigned char)*speed) ? strtod(speed, &end) : -1;
	if (o->gbs < 0 || *end || !(o->gbs <= HK_MAX_GBS))
		refuse(s, EINVAL, "pci_link_speed=\"%.40s\" is no number of GB/s", speed);
}

static void open_object(struct state *s, const char **attributes)
{
	struct hk_xml *x = s->xml;
	const char *type = attribute(attributes, "type"), *name = attribute(attributes, "name");
	struct hk_xml_object o = {.line = (int)XML_GetCurrentLineNumber(s->parser)};

	if (!type) {
		refuse(s, EINVAL, "an object has no type");
		return;
	}
	if (s->depth == HK_XML_DEPTH || x->nobjects == HK_XML_OBJECTS) {
		refuse(s, EINVAL, "more than %d objects, or %d inside each other", HK_XML_OBJECTS,
		       HK_XML_DEPTH);
		return;
	}
	o.type = (uint8_t)type_of(type);
	o.parent = s->depth ? s->stack[s->depth - 1] : -1;
	if ((o.parent < 0) != (x->nobjects == 0) || (o.parent < 0) != (o.type == HK_XML_MACHINE)) {
		refuse(s, EINVAL,
		       "all objects must be in one Machine, and none of another type "
		       "outside it");
		return;
	}
	o.gp = number(s, attributes, "gp_index", UINT64_MAX - 1, UINT64_MAX);
	o.os_index = (unsigned)number(s, attributes, "os_index", UINT_MAX, UINT_MAX);
	if (o.type == HK_XML_BRIDGE || o.type == HK_XML_PCI)
		read_pci(s, attributes, &o);
	if (o.type == HK_XML_OS) {
		o.os = (uint8_t)os_kind(s->major,
					(unsigned)number(s, attributes, "osdev_type", UINT_MAX, 0));
		o.name = keep(s, name ? name : "device");
	}
	if (x->nobjects && !(x->nobjects & (x->nobjects - 1))) {
		struct hk_xml_object *grown =
			realloc(x->objects, 2 * (size_t)x->nobjects * sizeof(*grown));

		if (!grown) {
			refuse(s, ENOMEM, "no memory for its objects");
			return;
		}
		x->objects = grown;
	}
	s->stack[s->depth++] = x->nobjects;
	x->objects[x->nobjects++] = o;
}

static void read_info(struct state *s, const char **attributes)
{
	const char *name = attribute(attributes, "name"), *value = attribute(attributes, "value");
	struct hk_xml_object *o;

	if (!s->depth || !name || !value || !*value)
		return;
	o = &s->xml->objects[s->stack[s->depth - 1]];
	if ((o->type == HK_XML_MACHINE && !strcmp(name, "DMIProductName")) ||
	    (o->type == HK_XML_PACKAGE && !strcmp(name, "CPUModel")) ||
	    (o->type == HK_XML_OS && !strcmp(name, "GPUModel")))
		o->model = keep(s, value);
	if (o->type == HK_XML_MACHINE && !strcmp(name, "HostName"))
		s->xml->host = keep(s, value);
	if (!strcmp(name, "CPUVendor"))
		s->xml->amd = !strcmp(value, "AuthenticAMD");
}

/* Opens a matrix of distances; all but NVLink's are passed over. */
static void open_matrix(struct state *s, const char **attributes)
{
	const char *name = attribute(attributes, "name");
	const char *indexing = attribute(attributes, "indexing");
	struct hk_xml *x = s->xml;

	if (!name || strcmp(name, "NVLinkBandwidth") || x->gp)
		return;
	if (indexing && strcmp(indexing, "gp")) {
		refuse(s, EINVAL, "NVLinkBandwidth is indexed by %.20s instead of gp", indexing);
		return;
	}
	s->nobjs = (unsigned)number(s, attributes, "nbobjs", HK_XML_MATRIX, 0);
	s->ngp = 0;
	s->nvalues = 0;
	x->gp = calloc((size_t)s->nobjs + 1, sizeof(*x->gp));
	x->values = calloc((size_t)s->nobjs * s->nobjs + 1, sizeof(*x->values));
	if (!x->gp || !x->values)
		refuse(s, ENOMEM, "no memory for its NVLinks");
}

static void close_matrix(struct state *s)
{
	if (!s->nobjs)
		return;
	if (s->text)
		refuse(s, EINVAL, "NVLinkBandwidth ends inside its numbers");
	else if (s->ngp != s->nobjs || s->nvalues != (size_t)s->nobjs * s->nobjs)
		refuse(s, EINVAL,
		       "NVLinkBandwidth of %u objects has %u numbers of objects and %zu "
		       "values",
		       s->nobjs, s->ngp, s->nvalues);
	s->xml->n = s->nobjs;
	s->nobjs = 0;
}

/* Numbers of objects, as 802 or OSDev:802; or values. */
static void close_numbers(struct state *s, bool values)
{
	struct hk_xml *x = s->xml;
	char *at = s->text, *end;

	s->text[s->ntext] = 0;
	for (at += strspn(at, " \t\r\n"); *at && !s->err; at = end + strspn(end, " \t\r\n")) {
		unsigned long long v;

		while (!values && (isalpha((unsigned char)*at) || *at == ':'))
			at++;
		errno = 0;
		v = strtoull(at, &end, 10);
		if (!isdigit((unsigned char)*at) || errno ||
		    !(isspace((unsigned char)*end) || !*end) || v == UINT64_MAX)
			refuse(s, EINVAL, "%.20s is no number", at);
		else if (values ? s->nvalues >= (size_t)s->nobjs * s->nobjs : s->ngp >= s->nobjs)
			refuse(s, EINVAL, "NVLinkBandwidth has more numbers than its %u objects",
			       s->nobjs);
		else if (values)
			x->values[s->nvalues++] = v;
		else
			x->gp[s->ngp++] = v;
	}
	free(s->text);
	s->text = NULL;
}

static void read_version(struct state *s, const char **attributes)
{
	const char *version = attribute(attributes, "version");

	s->major = version ? atoi(version) : 1;
	if (s->major < 2 || s->major > 99)
		refuse(s, EINVAL,
		       "hwloc %.10s wrote it: record the machine again with hwloc 2 or "
		       "later (lstopo FILE.xml)",
		       version ? version : "1");
}

static void on_start(void *user, const char *name, const char **attributes)
{
	struct state *s = user;

	if (s->err)
		return;
	if (s->elements++ == 0 && strcmp(name, "topology"))
		refuse(s, EINVAL,
		       "it begins with <%.40s>: a recording of hwloc begins with "
		       "<topology>",
		       name);
	else if (!strcmp(name, "topology"))
		read_version(s, attributes);
	else if (!strcmp(name, "object"))
		open_object(s, attributes);
	else if (!strcmp(name, "info"))
		read_info(s, attributes);
	else if (!strcmp(name, "distances2") || !strcmp(name, "distances2hetero"))
		open_matrix(s, attributes);
	else if (s->nobjs && !s->text && (!strcmp(name, "indexes") || !strcmp(name, "u64values"))) {
		s->ntext = 0;
		s->capacity = 1024;
		s->text = malloc(s->capacity);
		if (!s->text)
			refuse(s, ENOMEM, "no memory for its NVLinks");
	}
}

static void on_end(void *user, const char *name)
{
	struct state *s = user;

	if (s->err)
		return;
	s->elements--;
	if (!strcmp(name, "object"))
		s->depth--;
	else if (s->text && (!strcmp(name, "indexes") || !strcmp(name, "u64values")))
		close_numbers(s, *name == 'u');
	else if (!strcmp(name, "distances2") || !strcmp(name, "distances2hetero"))
		close_matrix(s);
}

static void on_text(void *user, const char *text, int length)
{
	struct state *s = user;
	size_t n = (size_t)length;

	if (!s->text || s->err)
		return;
	if (s->ntext + n + 1 > s->capacity) {
		size_t capacity = 2 * (s->ntext + n + 1);
		char *grown = realloc(s->text, capacity);

		if (!grown) {
			refuse(s, ENOMEM, "no memory for its NVLinks");
			return;
		}
		s->text = grown;
		s->capacity = capacity;
	}
	memcpy(s->text + s->ntext, text, n);
	s->ntext += n;
}

static void on_entity(void *user, const char *name, int is_parameter, const char *value, int length,
		      const char *base, const char *system, const char *public,
		      const char *notation)
{
	refuse(user, EINVAL, "it declares an entity, which no recording does");
}

static int parse(struct state *s, const char *text, size_t size, const char *name)
{
	int ok;

	XML_SetUserData(s->parser, s);
	XML_SetElementHandler(s->parser, on_start, on_end);
	XML_SetCharacterDataHandler(s->parser, on_text);
	XML_SetEntityDeclHandler(s->parser, on_entity);
	ok = XML_Parse(s->parser, text, (int)size, 1) == XML_STATUS_OK;
	if (ok && !s->err && !s->xml->nobjects)
		refuse(s, EINVAL, "it has no objects");
	if (!ok && !s->err) {
		s->err = -EINVAL;
		snprintf(s->why, sizeof(s->why), "this is no XML: %s",
			 XML_ErrorString(XML_GetErrorCode(s->parser)));
	}
	if (s->err)
		return hk_fail(-s->err, "%s:%lu: %s", name,
			       (unsigned long)XML_GetCurrentLineNumber(s->parser), s->why);
	return 0;
}

int hk_xml_read(const char *text, size_t size, const char *name, struct hk_xml **xml)
{
	struct state *s;
	int err = -ENOMEM;

	if (size > HK_XML_MAX)
		return hk_fail(EFBIG, "%s: a recording has at most %d bytes", name, HK_XML_MAX);
	s = calloc(1, sizeof(*s));
	if (s) {
		s->xml = calloc(1, sizeof(*s->xml));
		s->parser = XML_ParserCreate(NULL);
	}
	if (s && s->xml)
		s->xml->objects = malloc(sizeof(*s->xml->objects));
	if (s && s->xml && s->xml->objects && s->parser && !hk_store_create(&s->xml->store))
		err = parse(s, text, size, name);
	else
		hk_fail(ENOMEM, "no memory to read %s", name);
	if (s) {
		if (err)
			hk_xml_free(s->xml);
		else
			*xml = s->xml;
		if (s->parser)
			XML_ParserFree(s->parser);
		free(s->text);
	}
	free(s);
	return err;
}

void hk_xml_free(struct hk_xml *xml)
{
	if (!xml)
		return;
	hk_store_free(xml->store);
	free(xml->objects);
	free(xml->gp);
	free(xml->values);
	free(xml);
}
