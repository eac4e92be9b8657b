"""Text that comes without a hub: documentation and prose out of packages, fetched with their ordinary clients."""
