// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Decides which packets are xlb's and which are the kernel's.
 *
 * In:    every packet that an interface receives, before the kernel sees it
 * Out:   xlb's own to the AF_XDP socket of the queue that it came in by; all else to the kernel
 * Owns:  the maps below; user space writes them, this program reads them (and writes the counters)
 * Never: drops what is not xlb's; writes a packet; loops unbounded; takes what it cannot parse
 * Read:  RFC 791, 792, 826, 4443, 4861, 8200, IEEE 802.1Q; Documentation/networking/af_xdp.rst
 *
 * "Own" address: one that xlb serves. Shared ones belong to the kernel too: only bound ports, reserved
 * source ports and ICMP errors about either are taken. Sole ones are on no interface: xlb answers for
 * them on the wire, so everything to them is taken. What a server of a transparent connection says goes to an
 * address that is neither: the server and its port tell, with a reserved source port or with any.
 */
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Limits. User space allows half as many addresses and listeners: it adds before it removes. */
#define QUEUES_MAX 256
#define ADDRESSES_MAX 8192
#define LISTENERS_MAX 131072
/* IEEE 802.1ad: a service tag around a customer tag. */
#define VLAN_TAGS_MAX 2
/* RFC 8200, section 4.1, lists six extension headers before the upper layer. */
#define EXTENSIONS_MAX 6
/* Bounds every offset for the verifier; no header chain that xlb takes is longer. */
#define OFFSET_MAX 0x3fff

#define SERVERS_MAX 8192

#define OWNER_SOLE 2

#define SERVER_ANY_PORT 2

#define IPV4_OFFSET_MASK 0x1fff
#define IPV6_OFFSET_MASK 0xfff8

#define ICMP_DEST_UNREACHABLE 3
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
/* RFC 4443: all errors are below 128; these four are defined. */
#define ICMPV6_DEST_UNREACHABLE 1
#define ICMPV6_PARAMETER_PROBLEM 4
#define ICMPV6_NEIGHBOUR_SOLICITATION 135

struct address {
	union {
		__u8 bytes[16]; /* IPv4 as ::ffff:a.b.c.d */
		__be32 words[4];
	};
};

struct listener {
	struct address address; /* zero: any own address of the family */
	__be16 port;
	__u8 family; /* 4 or 6 */
	__u8 pad;
};

struct config {
	__u16 source_port_low; /* host order; low > high: none reserved */
	__u16 source_port_high;
	__u32 frame_len_max;
};

struct counters {
	__u64 redirected;
	__u64 passed;
	__u64 dropped;
};

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ADDRESSES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address);
	__type(value, __u8);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LISTENERS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct listener);
	__type(value, __u8);
} listeners SEC(".maps");

/* Servers that are connected to from addresses of others: where what they say is from. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SERVERS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct listener);
	__type(value, __u8);
} servers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, QUEUES_MAX);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

enum verdict { PASS, TAKE, DROP };

struct packet {
	void *data;
	void *end;
};

struct vlan_header {
	__be16 tci;
	__be16 protocol;
};

/* RFC 826, for Ethernet and IPv4. */
struct arp_packet {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 operation;
	__u8 sender_hardware[6];
	__be32 sender __attribute__((packed));
	__u8 target_hardware[6];
	__be32 target __attribute__((packed));
} __attribute__((packed));

struct tcp_header {
	__be16 source;
	__be16 dest;
	__u8 rest[16];
};

struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 rest;
};

struct neighbour_solicitation {
	struct icmp_header icmp;
	struct address target;
};

struct ipv6_extension {
	__u8 next;
	__u8 len; /* in units of 8 bytes, not counting the first 8 */
	__u8 routing_type;
	__u8 segments_left;
	__u8 rest[4];
};

struct ipv6_fragment {
	__u8 next;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

/* `len` bytes at `offset`, or NULL if the packet's first buffer ends before. */
static __always_inline void *at(struct packet *packet, __u32 offset, __u32 len)
{
	void *p;

	if (offset > OFFSET_MAX)
		return NULL;
	p = packet->data + offset;
	if (p + len > packet->end)
		return NULL;
	return p;
}

static __always_inline void map_ipv4(struct address *address, __be32 ipv4)
{
	__builtin_memset(address, 0, 10);
	address->bytes[10] = 0xff;
	address->bytes[11] = 0xff;
	__builtin_memcpy(&address->bytes[12], &ipv4, 4);
}

/* clang for BPF makes a call of memcmp, and there is nobody to call. */
static __always_inline int is_equal(struct address *a, struct in6_addr *b)
{
	return a->words[0] == b->in6_u.u6_addr32[0] && a->words[1] == b->in6_u.u6_addr32[1] &&
	       a->words[2] == b->in6_u.u6_addr32[2] && a->words[3] == b->in6_u.u6_addr32[3];
}

static __always_inline int is_sole(struct address *address)
{
	__u8 *owner = bpf_map_lookup_elem(&addresses, address);

	return owner && *owner == OWNER_SOLE;
}

/* Whether xlb has `port` of the own `address`: bound there, bound on any, or a reserved source port. */
static __always_inline int is_own_port(struct address *address, __be16 port, __u8 family)
{
	struct listener key = { .address = *address, .port = port, .family = family };
	__u16 number = bpf_ntohs(port);
	struct config *conf;
	__u32 zero = 0;

	conf = bpf_map_lookup_elem(&config, &zero);
	if (conf && number >= conf->source_port_low && number <= conf->source_port_high)
		return 1;
	if (bpf_map_lookup_elem(&listeners, &key))
		return 1;
	__builtin_memset(&key.address, 0, sizeof(key.address));
	return bpf_map_lookup_elem(&listeners, &key) != NULL;
}

/* Whether a packet to an address that is not ours is for a connection that we made from there. */
static __always_inline enum verdict tcp_of_others(struct packet *packet, __u32 offset,
						  struct address *source, __u8 family)
{
	struct tcp_header *header = at(packet, offset, sizeof(*header));
	struct listener key = { .address = *source, .family = family };
	struct config *conf;
	__u32 zero = 0;
	__u16 number;
	__u8 *which;

	if (!header)
		return PASS;
	key.port = header->source;
	which = bpf_map_lookup_elem(&servers, &key);
	if (!which)
		return PASS;
	if (*which == SERVER_ANY_PORT)
		return TAKE;
	conf = bpf_map_lookup_elem(&config, &zero);
	number = bpf_ntohs(header->dest);
	if (!conf || number < conf->source_port_low || number > conf->source_port_high)
		return PASS;
	return TAKE;
}

static __always_inline enum verdict tcp(struct packet *packet, __u32 offset,
					struct address *destination, __u8 family)
{
	struct tcp_header *header = at(packet, offset, sizeof(*header));

	if (!header)
		return PASS;
	return is_own_port(destination, header->dest, family) ? TAKE : PASS;
}

/*
 * An error about a packet that xlb sent: its source is the error's destination. RFC 792 promises the
 * first 8 bytes behind the embedded IP header; the ports are the first four.
 */
static __always_inline enum verdict icmp(struct packet *packet, __u32 offset,
					 struct address *destination, __be32 ipv4)
{
	struct icmp_header *header = at(packet, offset, sizeof(*header));
	struct iphdr *sent;
	__be16 *port;

	if (!header)
		return PASS;
	if (header->type != ICMP_DEST_UNREACHABLE && header->type != ICMP_TIME_EXCEEDED &&
	    header->type != ICMP_PARAMETER_PROBLEM)
		return PASS;
	offset += sizeof(*header);
	sent = at(packet, offset, sizeof(*sent));
	if (!sent || sent->version != 4 || sent->ihl < 5 || sent->protocol != IPPROTO_TCP ||
	    sent->saddr != ipv4 || sent->frag_off & bpf_htons(IPV4_OFFSET_MASK))
		return PASS;
	port = at(packet, offset + sent->ihl * 4, 8);
	if (!port)
		return PASS;
	return is_own_port(destination, *port, 4) ? TAKE : PASS;
}

/* The same for IPv6. xlb sends no extension headers, so the embedded packet has none. */
static __always_inline enum verdict icmpv6(struct packet *packet, __u32 offset,
					   struct address *destination)
{
	struct icmp_header *header = at(packet, offset, sizeof(*header));
	struct ipv6hdr *sent;
	__be16 *port;

	if (!header)
		return PASS;
	if (header->type < ICMPV6_DEST_UNREACHABLE || header->type > ICMPV6_PARAMETER_PROBLEM)
		return PASS;
	offset += sizeof(*header);
	sent = at(packet, offset, sizeof(*sent));
	if (!sent || sent->version != 6 || sent->nexthdr != IPPROTO_TCP ||
	    !is_equal(destination, &sent->saddr))
		return PASS;
	port = at(packet, offset + sizeof(*sent), 8);
	if (!port)
		return PASS;
	return is_own_port(destination, *port, 6) ? TAKE : PASS;
}

static __always_inline enum verdict ipv4(struct packet *packet, __u32 offset)
{
	struct iphdr *header = at(packet, offset, sizeof(*header));
	struct address destination;
	__u32 payload;
	__u8 *owner;

	if (!header || header->version != 4 || header->ihl < 5)
		return PASS;
	payload = offset + header->ihl * 4;
	if (!at(packet, payload, 0))
		return PASS;
	map_ipv4(&destination, header->daddr);
	owner = bpf_map_lookup_elem(&addresses, &destination);
	if (!owner) {
		struct address source;

		if (header->protocol != IPPROTO_TCP ||
		    header->frag_off & bpf_htons(IPV4_OFFSET_MASK))
			return PASS;
		map_ipv4(&source, header->saddr);
		return tcp_of_others(packet, payload, &source, 4);
	}
	/*
	 * A later fragment has no ports. On a shared address it may well be the kernel's; on a sole
	 * one nobody could reassemble it. (xlb takes the first fragment like any packet and discards
	 * it: the kernel would answer it with a reset.)
	 */
	if (header->frag_off & bpf_htons(IPV4_OFFSET_MASK))
		return *owner == OWNER_SOLE ? DROP : PASS;
	if (*owner == OWNER_SOLE)
		return TAKE;
	if (header->protocol == IPPROTO_TCP)
		return tcp(packet, payload, &destination, 4);
	if (header->protocol == IPPROTO_ICMP)
		return icmp(packet, payload, &destination, header->daddr);
	return PASS;
}

/* Of all multicast only the question "who has this sole address?" is xlb's. */
static __always_inline enum verdict ipv6_multicast(struct packet *packet, struct ipv6hdr *header,
						   __u32 payload)
{
	struct neighbour_solicitation *question;
	struct address target;

	if (header->nexthdr != IPPROTO_ICMPV6)
		return PASS;
	question = at(packet, payload, sizeof(*question));
	if (!question || question->icmp.type != ICMPV6_NEIGHBOUR_SOLICITATION)
		return PASS;
	target = question->target;
	return is_sole(&target) ? TAKE : PASS;
}

static __always_inline enum verdict ipv6(struct packet *packet, __u32 offset)
{
	struct ipv6hdr *header = at(packet, offset, sizeof(*header));
	struct address destination;
	enum verdict unknown;
	__u8 *owner, next;
	int i;

	if (!header || header->version != 6)
		return PASS;
	offset += sizeof(*header);
	if (header->daddr.in6_u.u6_addr8[0] == 0xff)
		return ipv6_multicast(packet, header, offset);
	__builtin_memcpy(&destination, &header->daddr, sizeof(destination));
	owner = bpf_map_lookup_elem(&addresses, &destination);
	if (!owner) {
		struct address source;

		if (header->nexthdr != IPPROTO_TCP)
			return PASS;
		__builtin_memcpy(&source, &header->saddr, sizeof(source));
		return tcp_of_others(packet, offset, &source, 6);
	}
	/* What is neither a later fragment nor known: the address decides. */
	unknown = *owner == OWNER_SOLE ? TAKE : PASS;
	next = header->nexthdr;

#pragma unroll
	for (i = 0; i <= EXTENSIONS_MAX; i++) {
		if (next == IPPROTO_TCP)
			return unknown == TAKE ? TAKE : tcp(packet, offset, &destination, 6);
		if (next == IPPROTO_ICMPV6)
			return unknown == TAKE ? TAKE : icmpv6(packet, offset, &destination);
		if (next == IPPROTO_FRAGMENT) {
			struct ipv6_fragment *fragment = at(packet, offset, sizeof(*fragment));

			if (!fragment)
				return unknown;
			if (fragment->offset & bpf_htons(IPV6_OFFSET_MASK))
				return unknown == TAKE ? DROP : PASS;
			next = fragment->next;
			offset += sizeof(*fragment);
		} else if (next == IPPROTO_HOPOPTS || next == IPPROTO_DSTOPTS ||
			   next == IPPROTO_ROUTING) {
			struct ipv6_extension *extension = at(packet, offset, sizeof(*extension));

			if (!extension)
				return unknown;
			/* Not at its last stop yet: routing it on is the kernel's business. */
			if (next == IPPROTO_ROUTING && extension->segments_left)
				return unknown;
			next = extension->next;
			offset += (extension->len + 1) * 8;
		} else {
			return unknown;
		}
	}
	return unknown;
}

static __always_inline enum verdict arp(struct packet *packet, __u32 offset)
{
	struct arp_packet *header = at(packet, offset, sizeof(*header));
	struct address target;

	if (!header || header->hardware != bpf_htons(1) ||
	    header->protocol != bpf_htons(ETH_P_IP) || header->hardware_len != 6 ||
	    header->protocol_len != 4)
		return PASS;
	map_ipv4(&target, header->target);
	return is_sole(&target) ? TAKE : PASS;
}

static __always_inline enum verdict classify(struct packet *packet)
{
	struct ethhdr *ethernet = at(packet, 0, sizeof(*ethernet));
	__u32 offset = sizeof(*ethernet);
	__be16 protocol;
	int i;

	if (!ethernet)
		return PASS;
	protocol = ethernet->h_proto;

#pragma unroll
	for (i = 0; i < VLAN_TAGS_MAX; i++) {
		struct vlan_header *tag;

		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
		tag = at(packet, offset, sizeof(*tag));
		if (!tag)
			return PASS;
		protocol = tag->protocol;
		offset += sizeof(*tag);
	}

	if (protocol == bpf_htons(ETH_P_IP))
		return ipv4(packet, offset);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return ipv6(packet, offset);
	if (protocol == bpf_htons(ETH_P_ARP))
		return arp(packet, offset);
	return PASS;
}

/* A packet in several buffers that does not fit a frame cannot reach the socket. */
static __always_inline int fits_frame(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct config *conf = bpf_map_lookup_elem(&config, &zero);

	return conf && bpf_xdp_get_buff_len(ctx) <= conf->frame_len_max;
}

/* "frags": without it drivers refuse to attach above an MTU of one page. */
SEC("xdp.frags")
int xlb(struct xdp_md *ctx)
{
	struct packet packet = {
		.data = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
	};
	__u32 queue = ctx->rx_queue_index;
	struct counters *count = bpf_map_lookup_elem(&counters, &queue);
	enum verdict verdict = classify(&packet);
	int action = XDP_PASS;

	if (verdict == TAKE && !fits_frame(ctx))
		verdict = DROP;
	if (verdict == DROP)
		action = XDP_DROP;
	if (verdict == TAKE)
		action = bpf_redirect_map(&xsks, queue, XDP_PASS);

	/* Per CPU, and a queue is served by one CPU at a time: plain additions do. */
	if (count) {
		if (action == XDP_REDIRECT)
			count->redirected++;
		else if (action == XDP_DROP)
			count->dropped++;
		else
			count->passed++;
	}
	return action;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
