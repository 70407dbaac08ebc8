/** What an invoice says in French. */
import type { Words } from './words-en.ts'

export const FRENCH: Words = {
  invoice: 'Facture',
  billTo: 'Facturé à',
  taxId: (id) => `Identifiant fiscal : ${id}`,
  registrationNumber: (number) => `Numéro d’immatriculation : ${number}`,
  contractReference: (reference) => `Contrat : ${reference}`,
  purchaseOrderNumber: (number) => `Bon de commande : ${number}`,

  number: 'Numéro de facture',
  issuedOn: 'Date d’émission',
  dueOn: 'Date d’échéance',
  terms: 'Conditions de paiement',
  payableWithin: (days) => (days === 0 ? 'À réception' : days === 1 ? '1 jour' : `${days} jours`),
  usagePeriod: 'Période de consommation',

  draft: 'Brouillon',
  paid: (on) => (on === null ? 'Payée' : `Payée le ${on}`),
  void: 'Annulée',
  draftNote: 'Ceci est un brouillon : rien n’est à payer, et ses montants peuvent encore changer.',
  voidNote: 'Cette facture est annulée : rien n’est à payer.',

  description: 'Désignation',
  tokens: 'Tokens',
  unitPrice: (currency) => `Prix unitaire (${currency})`,
  ofWhich: 'Dont',
  amount: (currency) => `Montant (${currency})`,

  plan: ({ title, code, version }) => `${title} (${code}, version ${version})`,
  baseFee: {
    advance: (plan) => `Abonnement, ${plan}`,
    credit: (plan) => `Abonnement, ${plan} : crédit après changement`,
    charge: (plan) => `Abonnement, ${plan} : complément après changement`
  },
  dayCount: (days) => (days < 2 ? `${days} jour` : `${days} jours`),
  inAdvance: 'payable d’avance',

  pools: {
    input: 'tokens en entrée',
    cacheRead: 'tokens lus en cache',
    cacheWrite: 'tokens écrits en cache',
    output: 'tokens en sortie',
    reasoning: 'tokens de raisonnement'
  },
  everyModel: 'tous les modèles',
  usage: (pool, model) => `Consommation : ${pool}, ${model}`,
  chargeModels: {
    per_unit: 'prix par token',
    package: 'prix par lot entamé',
    graduated: 'prix par tranches successives',
    volume: 'prix au volume, une même tranche pour tous les tokens'
  },
  models: 'Modèles',
  otherModels: (count, tokens) => `${count} autres ${tokens}`,
  used: 'Consommés',
  included: 'Inclus dans l’offre',
  charged: 'Facturés',
  tierUpTo: (tokens) => `Tranche jusqu’à ${tokens}`,
  lastTier: 'Dernière tranche',
  packages: (count, size) => `Lots de ${size} entamés : ${count}`,
  perThousand: (price) => `${price} / millier`,
  perMillion: (price) => `${price} / million`,
  perPackage: (price) => `${price} / lot`,

  minimum: (pool, model) => `Complément au minimum : ${pool}, ${model}`,
  minimumOfPeriod: 'Minimum de la période',
  lessCharged: 'Moins la consommation facturée',
  adjustment: (dates) => `Régularisation de consommation, ${dates}`,
  ratedNow: 'Montant juste, avec la consommation tardive ou retirée',
  lessInvoiced: 'Moins ce qui a été facturé',
  differences: 'Tokens ajoutés ou retirés :',

  subtotal: 'Sous-total',
  grants: 'Crédits utilisés',
  taxOnTop: (percent, net) => `Taxe ${percent} sur ${net}`,
  taxIncluded: (percent, net) => `Dont taxe ${percent} incluse (net ${net})`,
  notTaxed: (net) => `Non taxé : ${net}`,
  total: 'Total',
  creditApplied: 'Avoir imputé',
  due: 'Montant dû',
  alreadyPaid: 'Déjà payé',
  credited: 'Factures d’avoir',
  stillOpen: 'Reste à payer',
  inYourFavour: (money) => `${money} sont en votre faveur.`,

  payment: 'Paiement',
  paymentReference: (number) => `Référence à rappeler : ${number}`
}
